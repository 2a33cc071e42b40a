"""`raftline shard status|add-group|remove-group|move|rebalance|place|replace-node`: which group serves what.

Any node can be asked. A change is waited for until every group has carried it out, with a progress bar where there is a
terminal; a dry run works out on the newest configuration what would move, and changes nothing.
"""

import contextlib
import re
import time
from collections.abc import Callable, Iterator, Sequence

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from raftline.cli.asking import Asker, NodeRefusal
from raftline.cli.exit_codes import ExitCode, exit_code_of
from raftline.cli.node_info import Unreachable
from raftline.cli.output import complain, make_console, say
from raftline.cli.shard_view import (
    Plan,
    group_table,
    merged,
    no_groups_known,
    plan_of,
    plan_table,
    shown_json,
)
from raftline.core.ids import GroupId, NodeId
from raftline.errors import ChangeRefused, ConfigError, OperatingError, RaftlineError
from raftline.kv.sharded.requests import AddGroups, Request, as_change
from raftline.kv.shards_view import GroupReport, ShardReport, decode_report
from raftline.shards.configuration import (
    NOTHING_WOULD_CHANGE,
    Change,
    Leave,
    Move,
    Place,
    Rebalance,
    changed,
    numbered,
    placed_leaving,
)
from raftline.shards.placement import places_without

__all__ = ["ask_shards", "parse_slots", "run_change", "run_replace_node", "run_status"]

_CARRIED_OUT = "carried out"
_NOT_WAITED_FOR = "not waited for (`raftline shard status` shows what is still under way)"
_POLL_S = 0.2
_LOOK_S = 2.0
_NUMBER = re.compile(r"[0-9]{1,9}")
_SHOWN_MAX = 80


class _Unfinished(OperatingError):
    """The change was made, and not all of it has been carried out in time."""

    exit_code = ExitCode.TROUBLE


def ask_shards(node: str, timeout_s: float = _LOOK_S) -> ShardReport:
    """Ask one node, then those that lead groups; return what each knows best. Raises `NodeRefusal`, `Unreachable`."""
    first = _report(node, timeout_s)
    reports = [first]
    for leader in {group.leader for group in first.groups} - {None, first.node_id}:
        if leader is not None and first.address_of(leader):
            with contextlib.suppress(OperatingError):
                reports.append(_report(first.address_of(leader), min(timeout_s, _LOOK_S)))
    return merged(reports)


def _report(node: str, timeout_s: float) -> ShardReport:
    with Asker(node, timeout_s) as asker:
        return decode_report(asker.ask("RAFTLINE.SHARD", "STATUS"))


def run_status(node: str, *, as_json: bool, timeout_s: float) -> ExitCode:
    """Show groups, slots, leaders and what is on its way."""
    try:
        report = ask_shards(node, timeout_s)
    except RaftlineError as error:
        complain(f"raftline shard status: {error}")
        return exit_code_of(error)
    if as_json:
        say(shown_json(report))
    else:
        console = make_console()
        for table in group_table(report):
            console.print(table)
    is_led = report.configuration.number > 0 and all(group.leader is not None for group in report.groups)
    return ExitCode.OK if is_led and all(node.up for node in report.nodes) else ExitCode.TROUBLE


def _groups_known(node: str) -> ShardReport:
    """Return what `ask_shards` does; raises `ChangeRefused` if nobody who was asked knows any groups."""
    report = ask_shards(node)
    if not report.configuration.number:
        raise ChangeRefused(no_groups_known(report.node_id))
    return report


def parse_slots(written: str) -> tuple[int, int]:
    """Read `FIRST-LAST` or `SLOT` as [low, high); raise ConfigError."""
    first, dash, last = written.partition("-")
    if not _NUMBER.fullmatch(first) or (dash and not _NUMBER.fullmatch(last)):
        raise ConfigError(
            f"{written[:_SHOWN_MAX]!r} are no slots: write FIRST-LAST, both included, as in 0-99, or one number"
        )
    return int(first), int(last if dash else first) + 1


def run_change(
    what: str,
    make: Callable[[ShardReport], Request],
    node: str,
    *,
    dry_run: bool,
    wait: bool,
    as_json: bool,
    timeout_s: float,
) -> ExitCode:
    """Make a change, or show what it would do; wait until it is carried out."""
    deadline = time.monotonic() + timeout_s

    def work() -> tuple[str, Plan]:
        report = _groups_known(node)
        request = make(report)
        change = as_change(request, report.configuration, report.last_group, report.leaving.values())
        plan, text = _plan_of(report, change)
        if dry_run:
            return text, plan
        with Asker(node, timeout_s) as asker:
            number, done = _ask_for(asker, request, report.configuration.number, text)
        return _ended(done, _ways(node, report), number, plan, deadline if wait else None), plan

    return _run(what, work, dry_run=dry_run, as_json=as_json)


def run_replace_node(
    gone: NodeId, node: str, *, dry_run: bool, wait: bool, as_json: bool, timeout_s: float
) -> ExitCode:
    """Have a node's replicas made anew elsewhere."""
    deadline = time.monotonic() + timeout_s

    def work() -> tuple[str, Plan]:
        report = _groups_known(node)
        if gone not in [each.node_id for each in report.nodes]:
            raise ConfigError(f"{gone!r} is no node; there are {', '.join(each.node_id for each in report.nodes)}")
        groups = (*report.configuration.groups, *sorted(report.leaving.items()))
        places = places_without(groups, gone, [each.node_id for each in report.nodes if each.up])
        after = report.configuration
        for place in places:
            after = after if place.group in report.leaving else changed(after, place)
        placed = {place.group: place.nodes for place in places if place.group in report.leaving}
        plan = plan_of(report.configuration, after, placed)
        text = _replacing(gone, groups, places, plan)
        if not places and any(gone in held for _, held in groups):
            raise ChangeRefused(f"{text}; nothing was changed")
        if dry_run:
            return text, plan
        number = report.configuration.number
        if places:
            with Asker(node, timeout_s) as asker:
                number = int(asker.ask("RAFTLINE.SHARD", "REPLACENODE", gone))
        return _ended(
            f"configuration {number}: {text}", _ways(node, report), number, plan, deadline if wait else None
        ), plan

    return _run("replace-node", work, dry_run=dry_run, as_json=as_json)


def _ended(done: str, ways: list[str], number: int, plan: Plan, deadline: float | None) -> str:
    """Return what was done and how far it is; with a deadline, wait until configuration `number` is carried out."""
    if deadline is None:
        return f"{done}; {_NOT_WAITED_FOR}"
    _wait_carried_out(ways, number, plan.slots, deadline)
    return f"{done}; {_CARRIED_OUT}"


def _replacing(
    gone: NodeId, groups: Sequence[tuple[GroupId, tuple[NodeId, ...]]], places: Sequence[Place], plan: Plan
) -> str:
    """Return what giving a node up comes to, in words: who is placed, and who has to stay."""
    stay = sorted({group for group, held in groups if gone in held} - {place.group for place in places})
    parts = [plan.summary()] if places else []
    if stay:
        verb, whose = ("keeps", "its") if len(stay) == 1 else ("keep", "their")
        parts.append(f"{numbered(stay)} {verb} {whose} replica on {gone}: each other node that is up has one already")
    return "; ".join(parts) or f"{gone} holds no replica"


def _plan_of(report: ShardReport, change: Change) -> tuple[Plan, str]:
    """Return what a change comes to, also in words; raises `ChangeRefused`. What is so already comes to nothing."""
    before = report.configuration
    try:
        if isinstance(change, Place) and change.group in report.leaving:
            placed_leaving(report.leaving, change)
            plan = plan_of(before, before, {change.group: change.nodes})
        else:
            plan = plan_of(before, changed(before, change))
    except ChangeRefused as refused:
        return plan_of(before, before), _nothing_to_do(refused)
    return plan, plan.summary()


def _ask_for(asker: Asker, request: Request, known: int, text: str) -> tuple[int, str]:
    """Have a node make a change; return the configuration in which it stands and what was done.

    The node knows the newest configuration: that all is so already is its word, and that of the `known` one at least.
    """
    try:
        number = int(asker.ask("RAFTLINE.SHARD", *_words(request)))
    except NodeRefusal as refused:
        return known, _nothing_to_do(refused)
    return number, f"configuration {number}: {text}"


def _nothing_to_do(refused: RaftlineError) -> str:
    """Return in words that all is so already as a change would have it; raise the refusal if that is not its reason."""
    _, found, how = str(refused).partition(f"{NOTHING_WOULD_CHANGE}: ")
    if not found:
        raise refused
    return f"nothing to do, {how}"


def _words(request: Request) -> tuple[object, ...]:
    """Return a request as it is sent."""
    match request:
        case AddGroups():
            return ("ADDGROUP", request.count, "ON", *request.nodes)
        case Leave():
            return ("REMOVEGROUP", *request.groups)
        case Move():
            return ("MOVE", request.low, request.high - 1, request.group)
        case Place():
            return ("PLACE", request.group, *request.nodes)
        case Rebalance():
            return ("REBALANCE",)
        case _:
            raise AssertionError(f"{request} is made by nodes alone")


class _Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What a command with --json prints, whatever came of it."""

    command: str
    done: bool
    text: str
    exit_code: int
    plan: Plan | None


def _run(what: str, work: Callable[[], tuple[str, Plan]], *, dry_run: bool, as_json: bool) -> ExitCode:
    """Do it and say how it ended; return the exit code."""
    code, plan = ExitCode.OK, None
    try:
        text, plan = work()
    except ChangeRefused as refused:
        code, text = ExitCode.TROUBLE, str(refused)
    except RaftlineError as error:
        code, text = exit_code_of(error), str(error)
    except KeyboardInterrupt:
        code, text = ExitCode.TROUBLE, "left; what was asked for goes on without this command"
    if as_json:
        done = code is ExitCode.OK and not dry_run
        outcome = _Outcome(command=f"shard {what}", done=done, text=text, exit_code=int(code), plan=plan)
        say(msgspec.json.encode(outcome).decode())
    elif code is ExitCode.OK:
        if dry_run and plan is not None and plan.moves:
            make_console().print(plan_table(plan))
        say(f"would be so: {text}; nothing was changed" if dry_run else text)
    else:
        complain(f"raftline shard {what}: {text}")
    return code


def _ways(node: str, report: ShardReport) -> list[str]:
    """Return where to look: at the node that was named, or, if that is gone, at the others."""
    others = [report.address_of(each.node_id) for each in report.nodes if each.node_id != report.node_id]
    return [node, *filter(None, others)]


def _wait_carried_out(ways: list[str], number: int, slots: int, deadline: float) -> None:
    """Look again until every group has carried out configuration `number`; raise `_Unfinished` if it takes too long."""
    left: list[GroupId] = []
    with _bar(slots) as show:
        while True:
            try:
                report = ask_shards(ways[0])
            except (Unreachable, NodeRefusal):
                ways.append(ways.pop(0))
            else:
                show(slots - min(slots, sum(group.arriving for group in report.groups) + _not_begun(report, number)))
                left = [group.group for group in report.groups if not _is_done(report, group, number)]
                if not left and report.configuration.number >= number:
                    return
            if time.monotonic() >= deadline:
                names = numbered(left) if left else "the groups, which nobody tells of,"
                verb = "has" if len(left) == 1 else "have"
                raise _Unfinished(
                    f"configuration {number} is made; {names} {verb} not carried it out within --timeout-s: it "
                    "goes on without this command (`raftline shard status` shows how far)"
                )
            time.sleep(_POLL_S)


def _is_done(report: ShardReport, group: GroupReport, number: int) -> bool:
    """Say whether a group has nothing left to do: slots moved, members as they should be, gone if it left."""
    if group.leaving or group.change is not None or not group.is_settled_at(number):
        return False
    return set(group.members) == set(report.configuration.nodes_of(group.group))


def _not_begun(report: ShardReport, number: int) -> int:
    """Return how many slots wait for groups that have not come to configuration `number`."""
    return sum(group.slots for group in report.groups if group.configuration < number)


@contextlib.contextmanager
def _bar(slots: int) -> Iterator[Callable[[int], None]]:
    """Give a function that shows how many slots have arrived; a bar, if standard error is a terminal."""
    console = Console(stderr=True)
    columns = (TextColumn("slots move"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task("slots", total=slots)
        yield lambda done: progress.update(bar, completed=done)
