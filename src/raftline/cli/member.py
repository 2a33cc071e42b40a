"""`raftline member add|remove|promote|move|priority|list` and `raftline transfer`: who is in the group, who leads it.

Any node can be asked; the leader decides. A change is waited for until it is committed, an added node until it votes,
with its lag as a progress bar where there is a terminal. Refusals are the leader's own words.
"""

import contextlib
import time
from collections.abc import Callable, Iterator

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from raftline.cli.asking import Asker, NodeRefusal, NoLeaderNow, OutsideGroup
from raftline.cli.exit_codes import ExitCode, exit_code_of
from raftline.cli.node_info import MemberInfo, NodeInfo, NotAServer, Unreachable, ask_node
from raftline.cli.output import complain, make_console, say
from raftline.cli.settings_loading import parse_cluster
from raftline.cli.status import Row, ask_group, group_table
from raftline.core.changing import ASK_AGAIN, IN_PROGRESS
from raftline.errors import ConfigError, OperatingError, RaftlineError
from raftline.transport.address import parse_address, parse_client_address

__all__ = ["run_add", "run_change", "run_list", "run_move", "run_transfer"]

_POLL_S = 0.2
_LOOK_S = 1.0
_LAST_LOOK_S = 0.5
_SHORTEST_S = 0.05
_OUTSIDE = ("waiting", "removed", "stranger")
"""Roles of a node that knows that it is in no group."""


class _Unfinished(OperatingError):
    """The change was made, or may have been, and what should follow from it has not come in time."""

    exit_code = ExitCode.TROUBLE


_NOT_ASKED = "left; nothing was changed"
_MAYBE = "left; what was asked for may have been done, or may still be: look at the members before asking again"
_GOES_ON = "left; what was asked for goes on without this command"


class _Errand:
    """What a command asks of a node, in `timeout_s` all in all, and how far that is."""

    def __init__(self, node: str, timeout_s: float) -> None:
        self.node = node
        self.timeout_s = timeout_s
        self.if_left = _NOT_ASKED
        """What to tell whoever leaves the command now."""
        self._deadline_s = time.monotonic() + timeout_s
        self._refusal: NoLeaderNow | None = None

    @property
    def left_s(self) -> float:
        """Return the time that is left; not above zero if there is none."""
        return self._deadline_s - time.monotonic()

    @property
    def may_be_done(self) -> bool:
        """Say whether it was asked for before with an outcome that nobody knows."""
        return self.if_left is _MAYBE

    def ask(self, *words: str) -> None:
        """Ask once; raises what `Asker.ask` does, `_Unfinished` if a later try is not answered in time."""
        before, self.if_left = self.if_left, _MAYBE
        try:
            with Asker(self.node, max(self.left_s, _SHORTEST_S)) as asker:
                asker.ask(*words)
        except NodeRefusal as refusal:
            if not isinstance(refusal, NoLeaderNow):
                self.if_left = before
                raise
            self._refusal = refusal
            self.if_left = _MAYBE if refusal.may_take_effect else before
            raise
        except Unreachable:
            if self._refusal is None or self.left_s > 0:
                raise
            text = f"no outcome within {self.timeout_s:g} s: look at the members before asking again"
            raise _Unfinished(f"{text}; before, {self._refusal}") from None
        self.if_left = _GOES_ON

    def is_early(self, refusal: NodeRefusal) -> bool:
        """Say whether the leader may decide otherwise in a moment: it is new, or carries on what a lost one began."""
        return ASK_AGAIN in str(refusal) or (self.may_be_done and IN_PROGRESS in str(refusal))

    def pause(self) -> bool:
        """Wait a little; say whether there is time for another try."""
        if self.left_s > 0:
            time.sleep(min(_POLL_S, self.left_s))
        return self.left_s > 0

    def look(self) -> NodeInfo:
        """Return what the leader says, or the node if it knows none; a last look is possible after the time."""
        return _ask_leader(self.node, min(max(self.left_s, _LAST_LOOK_S), 2.0))

    def until(self, condition: Callable[[NodeInfo], object], what: str, advice: str = "") -> NodeInfo:
        """Look again and again until `condition` holds; raise `_Unfinished` with `what` if it takes too long."""
        while True:
            with contextlib.suppress(Unreachable):
                info = self.look()
                if condition(info):
                    return info
            if not self.pause():
                raise _Unfinished(f"{what} within {self.timeout_s:g} s{f': {advice}' if advice else ''}")


def run_add(member: str, node: str, *, learner: bool, timeout_s: float, as_json: bool = False) -> ExitCode:
    """Add a node that was started with `--join`; wait until it votes, unless it is to stay a learner."""

    def work(errand: _Errand) -> str:
        name, address = _named_address(member)
        _look_at(name, address, node, is_new=True)
        try:
            _ask_for(errand, "ADD", name, address, *(["LEARNER"] if learner else []))
        except OutsideGroup:
            raise
        except NodeRefusal:
            # It may have been asked before, with an outcome that nobody saw: then this command goes on from there.
            if not _is_added(errand, name, address, learner=learner):
                raise
            errand.if_left = _GOES_ON
        if learner:
            return f"{name} is a learner: it receives the log and does not vote (`raftline member promote {name}`)"
        info = _wait_until_voter(errand, name)
        return f"{name} votes now; {_voters(info)}"

    return _run("member add", work, node, timeout_s, as_json=as_json)


def _is_added(errand: _Errand, name: str, address: str, *, learner: bool) -> bool:
    """Say whether `name` is a member at `address` already, and no more than a learner if that is what is wanted."""
    with contextlib.suppress(Unreachable):
        member = _member(errand.look(), name)
        return member is not None and member.address == address and not (learner and member.voter)
    return False


def _look_at(name: str, address: str, node: str, *, is_new: bool) -> None:
    """Look who is at a member's address before anything is changed; raise ConfigError if it is somebody else.

    Nobody is no reason to refuse: the node may be about to start, or be out of reach from here. But it is told.
    """
    where = parse_address(address)
    try:
        found = ask_node(where.host, where.port, _LOOK_S)
    except NotAServer as error:
        raise ConfigError(f"{error}. Nothing was changed") from None
    except Unreachable as error:
        if is_new:
            complain(
                f"raftline member add: {name} does not answer yet ({error}): is it started? "
                f"raftline server --id {name} --listen {where.client} --join ... Waiting for it"
            )
        return
    if found.node_id != name:
        raise ConfigError(f"at {where.client} is {found.node_id}, not {name}: correct the address. Nothing was changed")
    with contextlib.suppress(Unreachable):
        _check_same_group(found, where.client, node, is_new=is_new)


def _check_same_group(found: NodeInfo, where: str, node: str, *, is_new: bool) -> None:
    """Raise ConfigError if the node at `where` is of another cluster than `node`, by its id or by its members.

    A member of another cluster with the same id would stop as soon as this one's leader reached it.
    """
    theirs, outside = found.fields.get("cluster_id"), found.role in _OUTSIDE
    if theirs is None and outside:
        return
    asked = parse_client_address(node)
    if asked is None:
        return
    info = ask_node(asked.host, asked.port, _LOOK_S)
    advice = "correct the address, or start it with an empty directory and --join. Nothing was changed"
    ours = info.fields.get("cluster_id")
    if theirs is not None and ours is not None and theirs != ours:
        raise ConfigError(f"at {where} is {found.node_id} of cluster {theirs!r}, not {ours!r}: {advice}")
    if not is_new or outside or _addresses(found) & _addresses(info):
        return
    others = ", ".join(member.node_id for member in found.members)
    raise ConfigError(f"at {where} is {found.node_id} of another group ({others}): {advice}")


def _addresses(info: NodeInfo) -> set[tuple[str, str]]:
    return {(member.node_id, member.address) for member in info.members}


def run_move(member: str, node: str, *, timeout_s: float, as_json: bool = False) -> ExitCode:
    """Tell everybody that a member is at another address from now on."""

    def work(errand: _Errand) -> str:
        name, address = _named_address(member)
        _look_at(name, address, node, is_new=False)
        _ask_for(errand, "MOVE", name, address)
        return f"{name} is at {address} from now on"

    return _run("member move", work, node, timeout_s, as_json=as_json)


def run_change(verb: str, words: tuple[str, ...], node: str, *, timeout_s: float, as_json: bool = False) -> ExitCode:
    """Carry out remove, promote or priority; the reply comes when the change is committed."""

    def work(errand: _Errand) -> str:
        _ask_for(errand, verb.upper(), *words)
        info = errand.until(lambda _: True, f"the change is made, but {node} does not tell the members")
        done = f"{words[0]}: {_DONE[verb]}{f' {words[1]}' if len(words) > 1 else ''}"
        # Who was away while it was removed knows that from others, and not who is left.
        is_outdated = verb == "remove" and _member(info, words[0]) is not None
        return done if is_outdated else f"{done}; {_voters(info)}"

    return _run(f"member {verb}", work, node, timeout_s, as_json=as_json)


def _ask_for(errand: _Errand, *words: str) -> None:
    """Ask for a change until a leader decides, for as long as there is time: none of them does harm twice."""
    while True:
        try:
            errand.ask("RAFTLINE.MEMBER", *words)
        except NoLeaderNow:
            if not errand.pause():
                raise
        except OutsideGroup:
            if not (words[0] == "REMOVE" and _is_removed(errand, words[1])):
                raise
            return
        except NodeRefusal as refusal:
            if errand.is_early(refusal) and errand.pause():
                continue
            # The leader that was lost may have done it: then there is nothing to do for the next one.
            if errand.is_early(refusal) or not (errand.may_be_done and _is_done(errand, words)):
                raise
            return
        else:
            return


def _is_done(errand: _Errand, words: tuple[str, ...]) -> bool:
    """Say whether the leader's members are as if this removal or promotion was carried out."""
    with contextlib.suppress(Unreachable):
        info = errand.look()
        member = _member(info, words[1])
        if info.leader_id is not None and words[0] == "REMOVE":
            return member is None
        return info.leader_id is not None and words[0] == "PROMOTE" and member is not None and member.voter
    return False


def _is_removed(errand: _Errand, name: str) -> bool:
    """Say whether the node that was asked is `name` itself, and knows that it was removed."""
    with contextlib.suppress(Unreachable):
        info = _ask(errand.node, max(errand.left_s, _LAST_LOOK_S))
        return info.node_id == name and info.role == "removed"
    return False


def run_transfer(to: str | None, node: str, *, timeout_s: float, as_json: bool = False) -> ExitCode:
    """Have another node lead; the reply comes when it does."""

    def work(errand: _Errand) -> str:
        errand.ask("RAFTLINE.TRANSFER", *([to] if to else []))
        info = errand.until(lambda found: found.leader_id, "nobody leads")
        return f"{info.leader_id} leads now, in term {info.term}"

    return _run("transfer", work, node, timeout_s, as_json=as_json)


def run_list(node: str, *, as_json: bool, timeout_s: float) -> ExitCode:
    """Show who is in the group, as every member tells it."""
    address = parse_client_address(node)
    if address is None:
        complain(f"raftline member list: {node!r} is no address: write HOST:PORT, as in 127.0.0.1:7001")
        return ExitCode.CONFIG
    try:
        group = ask_group(address.host, address.port, timeout_s)
    except Unreachable as error:
        complain(f"raftline member list: {error}")
        return ExitCode.UNAVAILABLE
    if as_json:
        say(msgspec.json.format(msgspec.json.encode([_listed(row) for row in group.members]), indent=2).decode())
    else:
        make_console().print(group_table(group))
    return ExitCode.OK


class _Listed(msgspec.Struct, frozen=True, kw_only=True):
    """One line of `member list --json`."""

    node_id: str
    address: str
    voter: bool
    role: str | None
    reachable: bool
    lag_entries: int | None


def _listed(row: Row) -> _Listed:
    return _Listed(
        node_id=row.node_id,
        address=row.address,
        voter=row.voter,
        role=row.role,
        reachable=row.reachable,
        lag_entries=row.lag_entries,
    )


_DONE = {"remove": "removed", "promote": "votes now", "priority": "has priority"}


class _Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What a command with --json prints, whatever came of it."""

    command: str
    done: bool
    text: str
    """What was done, or why it was not, in the words that are printed without --json."""
    exit_code: int


def _run(what: str, work: Callable[[_Errand], str], node: str, timeout_s: float, *, as_json: bool) -> ExitCode:
    """Do it and say how it ended; return the exit code."""
    code = ExitCode.OK
    errand = _Errand(node, timeout_s)
    try:
        text = work(errand)
    except RaftlineError as error:
        code, text = exit_code_of(error), str(error)
        if isinstance(error, Unreachable) and not isinstance(error, NotAServer):
            text += "; any other node of the cluster can be asked as well (--node HOST:PORT)"
    except KeyboardInterrupt:
        code, text = ExitCode.TROUBLE, errand.if_left
    if as_json:
        outcome = _Outcome(command=what, done=code is ExitCode.OK, text=text, exit_code=int(code))
        say(msgspec.json.encode(outcome).decode())
    elif code is ExitCode.OK:
        say(text)
    else:
        complain(f"raftline {what}: {text}")
    return code


def _named_address(member: str) -> tuple[str, str]:
    """Read `name=host:port`; raise ConfigError."""
    named = parse_cluster(member)
    if len(named) != 1:
        raise ConfigError(f"{member!r} names {len(named)} nodes: one at a time")
    ((name, address),) = named.items()
    return name, str(parse_address(address))


def _wait_until_voter(errand: _Errand, name: str) -> NodeInfo:
    """Look at the leader until it counts `name` among the voters; show how far it is."""
    with _lag_bar(name) as show:

        def votes(info: NodeInfo) -> bool:
            member = _member(info, name)
            show(member, info.last_index)
            return member is not None and member.voter

        where = "it goes on without this command (`raftline member list` shows it); was the node started with --join?"
        return errand.until(votes, f"{name} has not caught up", where)


def _ask_leader(node: str, timeout_s: float) -> NodeInfo:
    """Return what the leader says, or the node that was asked if it knows none; raises Unreachable."""
    info = _ask(node, timeout_s)
    leader = _member(info, info.leader_id) if info.leader_id not in (None, info.node_id) else None
    if leader is None:
        return info
    other = parse_address(leader.address)
    return ask_node(other.host, other.port, timeout_s)


def _ask(node: str, timeout_s: float) -> NodeInfo:
    address = parse_client_address(node)
    assert address is not None, "it was asked before"
    return ask_node(address.host, address.port, timeout_s)


def _member(info: NodeInfo, name: str | None) -> MemberInfo | None:
    return next((member for member in info.members if member.node_id == name), None)


def _voters(info: NodeInfo) -> str:
    names = [member.node_id for member in info.members if member.voter]
    return f"{len(names)} voters: {', '.join(names)}"


@contextlib.contextmanager
def _lag_bar(name: str) -> Iterator[Callable[[MemberInfo | None, int], None]]:
    """Give a function that shows how much of the log a learner holds; a bar, if standard error is a terminal."""
    console = Console(stderr=True)
    columns = (TextColumn(f"{name} catches up"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task(name, total=None)

        def show(member: MemberInfo | None, last_index: int) -> None:
            if member is not None and member.lag_entries is not None:
                progress.update(bar, total=last_index, completed=last_index - member.lag_entries)

        yield show
