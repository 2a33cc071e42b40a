"""`raftline shard`: what would move, what is shown, and when a change counts as carried out."""

from functools import partial
from io import StringIO
from types import SimpleNamespace
from typing import Any, Self

import msgspec
import pytest
from rich.console import Console
from typer.testing import CliRunner

from raftline.cli import shard
from raftline.cli.asking import NodeRefusal
from raftline.cli.exit_codes import ExitCode
from raftline.cli.main import app
from raftline.cli.node_info import Unreachable
from raftline.cli.shard_view import group_table, merged, plan_of, plan_table, shown_json, state_of
from raftline.cli.top_view import Look, frame
from raftline.errors import ChangeRefused, ConfigError
from raftline.kv.sharded.requests import AddGroups, Request
from raftline.kv.shards_view import GroupReport, NodeReport, ShardReport
from raftline.shards.configuration import EMPTY, Configuration, Join, Leave, Move, Place, Rebalance, changed

NODES = ("n1", "n2", "n3")
TWO = changed(EMPTY, Join({1: NODES, 2: NODES}))


def report(newest: Configuration = TWO, **of_groups: Any) -> ShardReport:
    """Return what a node tells whose groups have carried out everything."""
    facts: dict[str, Any] = {
        "leader": "n1",
        "hosted": True,
        "configuration": newest.number,
        "members": NODES,
    } | of_groups
    return ShardReport(
        node_id="n1",
        configuration=newest,
        last_group=2,
        replicas=3,
        nodes=tuple(
            NodeReport(node_id=name, address=f"127.0.0.1:{port}@1", up=True, replicas=2, first_of=1)
            for port, name in enumerate(NODES, 7001)
        ),
        groups=tuple(GroupReport(group=group, nodes=nodes, slots=8192, **facts) for group, nodes in newest.groups),
    )


def shown(parts: Any) -> str:
    """Return what a console prints."""
    out = StringIO()
    console = Console(file=out, width=140)
    for part in parts:
        console.print(part)
    return out.getvalue()


@pytest.mark.parametrize(("written", "slots"), [("0-99", (0, 100)), ("5", (5, 6)), ("16383", (16383, 16384))])
def test_slots_are_written_with_both_ends(written: str, slots: tuple[int, int]) -> None:
    """As Redis Cluster's tools write them."""
    assert shard.parse_slots(written) == slots


def test_slots_that_are_not_there_are_told_as_they_were_written(
    reports: list[ShardReport], capsys: pytest.CaptureFixture[str]
) -> None:
    """Both ends included, as the last slot is, too."""
    reports.append(report())
    for written in ("99-0", "16380-16384"):
        result = CliRunner().invoke(app, ["shard", "move", written, "2", "--node", "127.0.0.1:1"])
        assert result.exit_code == int(ExitCode.TROUBLE)
        told = f"slots {written} are none: they go from 0 to 16383, the lower one first"
        assert told in result.output + capsys.readouterr().err


@pytest.mark.parametrize("written", ["", "a", "1-", "-3", "1-b", "1,2", "²", "1-³", "9" * 5000])
def test_what_are_no_slots_is_refused_in_words(written: str) -> None:
    """Nobody is asked then."""
    with pytest.raises(ConfigError, match="write FIRST-LAST"):
        shard.parse_slots(written)


def test_new_groups_get_all_their_replicas_or_are_refused() -> None:
    """While a node is down without which a group would have fewer and survive less, unless the others are named."""
    nodes = [NodeReport(node_id=f"n{n}", address=f"a:{n}", up=n != 2, replicas=0, first_of=0) for n in range(1, 5)]
    report = ShardReport(node_id="n1", configuration=EMPTY, last_group=0, replicas=3, nodes=tuple(nodes[:3]), groups=())
    with pytest.raises(ChangeRefused, match="n2: down, so a new group would have 2 replicas, not 3; start it, or name"):
        report.founders()
    assert msgspec.structs.replace(report, nodes=tuple(nodes)).founders() == ("n1", "n3", "n4")
    few = msgspec.structs.replace(report, nodes=(nodes[0], nodes[2]))
    assert few.founders() == ("n1", "n3"), "there are no more"


def test_a_dry_run_shows_who_gives_what_to_whom() -> None:
    """Slots, ranges and new groups, worked out on the newest configuration as the controller will do it (G17)."""
    plan = plan_of(TWO, changed(TWO, Join({3: ("n2", "n3")})))
    assert plan.slots == 16384 // 3
    assert [(move.source, move.target) for move in plan.moves] == [(1, 3), (2, 3)]
    assert plan.new_groups == {3: ("n2", "n3")}
    assert plan.summary() == "group 3 on n2, n3; 5461 slots move"
    assert "group 1" in shown([plan_table(plan)])
    assert plan_of(TWO, changed(TWO, Leave((2,)))).gone_groups == (2,)
    placed = plan_of(TWO, changed(TWO, Place(2, ("n1",))))
    assert placed.summary() == "group 2 on n1 from now on; no slot moves"
    first = plan_of(EMPTY, TWO)
    assert first.slots == 0
    assert "nobody" in shown([plan_table(first)])


def test_a_group_is_shown_with_what_it_is_doing() -> None:
    """Slots to come and to go, members that change, a leader that is missing."""
    one = report().groups[0]
    replaced = msgspec.structs.replace
    assert state_of(report(), one) == "serving"
    assert state_of(report(), replaced(one, arriving=3, giving=4)) == "3 slots to come, 4 slots to go"
    assert state_of(report(), replaced(one, leader=None, hosted=False)) == "no leader, not asked"
    waiting = replaced(one, leader=None, members=())
    assert state_of(report(), waiting) == "no leader, its nodes wait for those that had it before"
    assert state_of(report(), replaced(one, leaving=True, change="removing n1")) == "leaving, removing n1"
    assert state_of(report(), replaced(one, configuration=0)) == "at configuration 0"
    text = shown(group_table(report()))
    assert "0-8191" in text
    assert "configuration 1: 2 groups; no slot is on its way" in text
    given = replaced(report(), groups=(replaced(one, giving=4), replaced(report().groups[1], configuration=0)))
    assert "4 slots are on their way" in shown(group_table(given)), "who is to take them has not heard of it"
    unknown = ShardReport(node_id="n4", configuration=EMPTY, last_group=0, replicas=3, nodes=(), groups=())
    assert "n4 has not learned yet which groups there are" in shown(group_table(unknown))
    assert '"ranges": [\n        [\n          0,\n          8191' in shown_json(report())


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (AddGroups(2, {"n1": "a", "n2": "b"}), ("ADDGROUP", 2, "ON", "n1", "n2")),
        (Leave((1, 2)), ("REMOVEGROUP", 1, 2)),
        (Move(0, 100, 2), ("MOVE", 0, 99, 2)),
        (Place(1, ("n3", "n1")), ("PLACE", 1, "n3", "n1")),
        (Rebalance(), ("REBALANCE",)),
    ],
)
def test_requests_are_sent_as_commands_are_written(request_: Request, words: tuple[object, ...]) -> None:
    """So whoever has no `raftline` at hand can do the same with redis-cli."""
    assert shard._words(request_) == words


class Asked:
    """Stands in for the connection to a node."""

    sent: list[tuple[object, ...]] = []  # noqa: RUF012  one test at a time

    def __init__(self, *_: object) -> None: ...
    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...
    def ask(self, *words: object) -> int:
        """Remember what is asked."""
        self.sent.append(words)
        return 2


@pytest.fixture
def reports(monkeypatch: pytest.MonkeyPatch) -> list[ShardReport]:
    """What nodes tell, one answer after the other, the last one for ever."""
    told: list[ShardReport] = []
    monkeypatch.setattr(shard, "ask_shards", lambda *_: told.pop(0) if len(told) > 1 else told[0])
    monkeypatch.setattr(shard, "Asker", Asked)
    monkeypatch.setattr(shard, "_POLL_S", 0)
    Asked.sent = []
    return told


def change(**options: Any) -> ExitCode:
    """Move a slot."""
    usual: dict[str, Any] = {"dry_run": False, "wait": True, "as_json": False, "timeout_s": 60.0}
    return shard.run_change("move", lambda _: Move(0, 10, 2), "127.0.0.1:1", **(usual | options))


def test_a_name_that_is_empty_is_shown_as_one(reports: list[ShardReport], capsys: pytest.CaptureFixture[str]) -> None:
    """As a comma too many leaves it."""
    reports.append(report())
    result = CliRunner().invoke(app, ["shard", "add-group", "--on", "n1,,n9", "--node", "127.0.0.1:1"])
    assert result.exit_code == int(ExitCode.CONFIG)
    assert "--on: '', 'n9': no such node; there are n1, n2, n3" in result.output + capsys.readouterr().err


def test_a_dry_run_changes_nothing(reports: list[ShardReport], capsys: pytest.CaptureFixture[str]) -> None:
    """It says what would be, and asks for nothing."""
    reports.append(report())
    assert change(dry_run=True) is ExitCode.OK
    assert Asked.sent == []
    assert "would be so: 10 slots move; nothing was changed" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("nodes", "code", "words"),
    [
        ("n9,n1", ExitCode.CONFIG, "'n9' is no node of this cluster; there are n1, n2, n3, n4"),
        ("n1,n2,n1", ExitCode.CONFIG, "'n1' is named twice: a group has one replica on a node"),
        ("n1,,n2", ExitCode.CONFIG, "'' is no node of this cluster"),
        ("n1,n4", ExitCode.TROUBLE, "n4: down, so group 1 might stop until that is back"),
    ],
)
def test_a_dry_run_of_a_place_refuses_what_the_command_would(
    reports: list[ShardReport], nodes: str, code: ExitCode, words: str
) -> None:
    """Nodes that are not there, and new ones that are down."""
    told = report()
    gone = NodeReport(node_id="n4", address="127.0.0.1:7004@1", up=False, replicas=0, first_of=0)
    reports.append(msgspec.structs.replace(told, nodes=(*told.nodes, gone)))
    result = CliRunner().invoke(app, ["shard", "place", "1", nodes, "--node", "127.0.0.1:1", "--dry-run"])
    assert result.exit_code == int(code)
    assert words in result.output


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("--on", "n1,n4"), ExitCode.TROUBLE, "n4: down, so a group there might never begin; name nodes that are up"),
        (("--on", "n1,n9"), ExitCode.CONFIG, "--on: 'n9': no such node; there are n1, n2, n3, n4"),
        (
            ("--count", "2"),
            ExitCode.TROUBLE,
            "n4: down, so a new group would have 3 replicas, not 4; start it",
        ),
    ],
)
@pytest.mark.parametrize("more", [(), ("--dry-run",)])
def test_new_groups_are_refused_alike_in_a_dry_run(
    reports: list[ShardReport], words: tuple[str, ...], code: ExitCode, told: str, more: tuple[str, ...]
) -> None:
    """For nodes that are not there or are down, and where one that is down would be needed."""
    usual = report()
    gone = NodeReport(node_id="n4", address="127.0.0.1:7004@1", up=False, replicas=0, first_of=0)
    reports.append(msgspec.structs.replace(usual, nodes=(*usual.nodes, gone), replicas=4))
    result = CliRunner().invoke(app, ["shard", "add-group", *words, "--node", "127.0.0.1:1", *more])
    assert (result.exit_code, Asked.sent) == (int(code), [])
    assert told in result.output


@pytest.mark.parametrize("what", [Rebalance(), Move(0, 10, 1), Place(2, NODES)])
def test_what_is_so_already_is_no_trouble(
    reports: list[ShardReport], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, what: Request
) -> None:
    """A script may ask again, also because it was not carried out in time before: so that is waited for."""

    def refuse(_: Asked, *words: object) -> int:
        Asked.sent.append(words)
        raise NodeRefusal("127.0.0.1:1 refuses: nothing would change: configuration 1 is like that already")

    monkeypatch.setattr(Asked, "ask", refuse)
    reports += [report(), report(giving=3), report()]
    usual: dict[str, Any] = {"wait": True, "as_json": False, "timeout_s": 60.0}
    assert shard.run_change("x", lambda _: what, "a:1", dry_run=False, **usual) is ExitCode.OK
    assert (len(Asked.sent), len(reports)) == (1, 1), "the node decides, which may know more; and it is waited for"
    assert capsys.readouterr().out.strip() == "nothing to do, configuration 1 is like that already; carried out"
    assert shard.run_change("x", lambda _: what, "a:1", dry_run=True, **usual) is ExitCode.OK
    told = "would be so: nothing to do, configuration 1 is like that already; nothing was changed"
    assert capsys.readouterr().out.strip() == told
    assert len(Asked.sent) == 1
    reports[:] = [report(giving=3)]
    usual["timeout_s"] = 0.05
    assert shard.run_change("x", lambda _: what, "a:1", dry_run=False, **usual) is ExitCode.TROUBLE


@pytest.mark.parametrize(
    "what", ["rebalance", "add-group", "remove-group 1", "move 0-9 1", "place 1 n1", "replace-node n1"]
)
@pytest.mark.parametrize("more", [[], ["--dry-run"]])
def test_a_node_that_knows_no_groups_cannot_be_asked_to_change_any(
    reports: list[ShardReport], capsys: pytest.CaptureFixture[str], what: str, more: list[str]
) -> None:
    """It was just started, waits to be added, or was removed: another one has to be asked, whatever it is."""
    reports.append(ShardReport(node_id="n4", configuration=EMPTY, last_group=0, replicas=3, nodes=(), groups=()))
    result = CliRunner().invoke(app, ["shard", *what.split(), "--node", "127.0.0.1:1", *more])
    assert result.exit_code == int(ExitCode.TROUBLE)
    assert "n4 has not learned yet which groups there are: ask a member" in result.output + capsys.readouterr().err
    assert Asked.sent == []


def test_a_node_that_knows_no_groups_is_not_in_order(
    reports: list[ShardReport], capsys: pytest.CaptureFixture[str]
) -> None:
    """A script that looks at the exit code alone would take it for a cluster in which all is well."""
    reports.append(ShardReport(node_id="n4", configuration=EMPTY, last_group=0, replicas=3, nodes=(), groups=()))
    assert shard.run_status("a:1", as_json=False, timeout_s=1.0) is ExitCode.TROUBLE
    assert "n4 has not learned yet" in capsys.readouterr().out
    reports[:] = [report()]
    assert shard.run_status("a:1", as_json=False, timeout_s=1.0) is ExitCode.OK


def test_a_placement_that_waits_for_a_node_that_is_down_is_shown() -> None:
    """A group that others vote for than are to is not just serving: it is said who votes, and who is missing."""
    told = report()
    placed = msgspec.structs.replace(told.groups[0], nodes=("n2", "n3"), members=("n1", "n2", "n3"))
    assert state_of(told, placed) == "n1, n2, n3 vote until its nodes can"
    without = tuple(msgspec.structs.replace(each, up=each.node_id != "n2") for each in told.nodes)
    told = msgspec.structs.replace(told, nodes=without)
    assert state_of(told, placed) == "n1, n2, n3 vote until its nodes can; n2: down"
    assert state_of(told, msgspec.structs.replace(placed, change="removing n1")) == "removing n1"
    assert state_of(told, msgspec.structs.replace(placed, members=("n3", "n2"))) == "serving"


def test_a_change_is_waited_for_until_all_groups_have_it(
    reports: list[ShardReport], capsys: pytest.CaptureFixture[str]
) -> None:
    """One that is behind, or still gives or takes, is waited for."""
    moved = changed(TWO, Move(0, 10, 2))
    reports += [report(), report(moved, configuration=1), report(moved, arriving=4), report(moved, giving=1)]
    reports += [report(moved, members=("n1",)), report(moved)]
    assert change() is ExitCode.OK
    assert Asked.sent == [("RAFTLINE.SHARD", "MOVE", 0, 9, 2)]
    assert "configuration 2: 10 slots move; carried out" in capsys.readouterr().out
    assert len(reports) == 1


@pytest.mark.parametrize(("wait", "told"), [(True, "carried out"), (False, "not waited for (`raftline shard status`")])
def test_what_is_not_waited_for_is_not_said_to_be_done_or_under_way(
    reports: list[ShardReport], capsys: pytest.CaptureFixture[str], *, wait: bool, told: str
) -> None:
    """It may be either; a node whose replicas are still to go elsewhere must not be taken away (K2)."""
    options: dict[str, Any] = {"dry_run": False, "wait": wait, "as_json": False, "timeout_s": 60.0}
    spare = NodeReport(node_id="n4", address="127.0.0.1:7004@1", up=True, replicas=0, first_of=0)
    reports[:] = [msgspec.structs.replace(report(), nodes=(*report().nodes, spare))] * 2
    assert shard.run_replace_node("n4", "a:1", **options) is ExitCode.OK
    assert capsys.readouterr().out.startswith(f"configuration 1: n4 holds no replica; {told}")
    reports[:] = [report(), report(changed(TWO, Move(0, 10, 2)))]
    assert change(wait=wait) is ExitCode.OK
    assert f"configuration 2: 10 slots move; {told}" in capsys.readouterr().out


def test_a_change_is_waited_for_at_another_node_if_the_one_that_was_asked_dies(
    reports: list[ShardReport], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It goes on whichever node fails; the others are known by the report before the change."""
    reports.append(report())
    asked: list[str] = []

    def look(node: str) -> ShardReport:
        asked.append(node)
        if len(asked) == 1:
            return reports[0]
        if node != "127.0.0.1:7003":
            raise Unreachable(f"{node} is gone")
        return report(changed(TWO, Move(0, 10, 2)))

    monkeypatch.setattr(shard, "ask_shards", look)
    assert change() is ExitCode.OK
    assert "carried out" in capsys.readouterr().out
    first = "127.0.0.1:1"
    assert asked == [first, first, "127.0.0.1:7002", "127.0.0.1:7003"]


def test_who_does_not_know_of_the_change_does_not_say_that_it_is_carried_out(reports: list[ShardReport]) -> None:
    """As a node that has just started: it knows no groups, or those of before."""
    moved = changed(TWO, Move(0, 10, 2))
    reports += [report(), report(EMPTY), report(TWO, configuration=2), report(moved)]
    assert change() is ExitCode.OK
    assert len(reports) == 1


def test_what_takes_too_long_goes_on_without_the_command(
    reports: list[ShardReport], capsys: pytest.CaptureFixture[str]
) -> None:
    """The change is made; who has not carried it out is named, and the exit code says so."""
    reports += [report(), report(changed(TWO, Move(0, 10, 2)), giving=1)]
    assert change(timeout_s=0.05) is ExitCode.TROUBLE
    assert "groups 1, 2 have not carried it out within --timeout-s" in capsys.readouterr().err


def test_the_time_for_a_change_counts_once_over_all_its_steps(
    reports: list[ShardReport], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What looking and asking took is no longer there for waiting."""
    now = [1000.0]

    def sleep(_: float) -> None:
        now[0] += 1

    def ask(*_: object) -> int:
        now[0] += 20
        return 2

    spare = NodeReport(node_id="n4", address="127.0.0.1:7004@1", up=True, replicas=0, first_of=0)
    told = report(changed(TWO, Move(0, 10, 2)), giving=1)
    reports += [msgspec.structs.replace(told, nodes=(*told.nodes, spare))]
    monkeypatch.setattr(shard, "time", SimpleNamespace(monotonic=lambda: now[0], sleep=sleep))
    monkeypatch.setattr(Asked, "ask", ask)
    options: dict[str, Any] = {"dry_run": False, "wait": True, "as_json": False, "timeout_s": 30.0}
    for run in (partial(change, **options), partial(shard.run_replace_node, "n1", "a:1", **options)):
        began = now[0]
        assert run() is ExitCode.TROUBLE
        assert now[0] - began == 30.0


def test_json_tells_the_plan(reports: list[ShardReport], capsys: pytest.CaptureFixture[str]) -> None:
    """For programs: what was done or why not, and what moves."""
    reports.append(report())
    assert change(as_json=True, dry_run=True) is ExitCode.OK
    told = msgspec.json.decode(capsys.readouterr().out)
    assert (told["command"], told["done"], told["plan"]["slots"]) == ("shard move", False, 10)
    assert (
        shard.run_change("move", lambda _: Move(9, 9, 2), "a:1", dry_run=True, wait=True, as_json=True, timeout_s=1)
        is ExitCode.TROUBLE
    )
    assert "slots [9, 9) are none" in msgspec.json.decode(capsys.readouterr().out)["text"]


def test_a_node_without_a_place_elsewhere_stays(reports: list[ShardReport], capsys: pytest.CaptureFixture[str]) -> None:
    """Three nodes, three replicas: there is no room, which is said, and nothing is asked for."""
    reports.append(report())
    options: dict[str, Any] = {"dry_run": False, "wait": True, "as_json": False, "timeout_s": 0.05}
    for dry_run in (False, True):
        assert shard.run_replace_node("n2", "a:1", **{**options, "dry_run": dry_run}) is ExitCode.TROUBLE
        told = capsys.readouterr().err
        assert "groups 1, 2 keep their replica on n2: each other node that is up has one already" in told
    assert shard.run_replace_node("n9", "a:1", **options) is ExitCode.CONFIG
    assert Asked.sent == []


def test_a_node_without_replicas_is_said_to_have_none(
    reports: list[ShardReport], capsys: pytest.CaptureFixture[str]
) -> None:
    """It may be taken away then; of a group that has room and one that has none, both are told."""
    options: dict[str, Any] = {"dry_run": True, "wait": True, "as_json": False, "timeout_s": 0.05}
    here = report(changed(TWO, Place(1, ("n1", "n2"))))
    reports[:] = [here]
    assert shard.run_replace_node("n1", "a:1", **options) is ExitCode.OK
    told = capsys.readouterr().out
    assert "group 1 on n2, n3 from now on; no slot moves; group 2 keeps its replica on n1: each other node" in told
    assert "from" not in told.partition("would be so")[0], "no slot moves, so no table of moves"
    reports[:] = [report(changed(here.configuration, Place(2, ("n1", "n2"))))]
    assert shard.run_replace_node("n3", "a:1", **options) is ExitCode.OK
    assert "would be so: n3 holds no replica; nothing was changed" in capsys.readouterr().out


def test_replacing_a_node_ends_when_nothing_needs_it(
    reports: list[ShardReport], capsys: pytest.CaptureFixture[str]
) -> None:
    """Also when it is asked for again, and while voters give way to others: then the node may be taken away."""
    options: dict[str, Any] = {"dry_run": False, "wait": True, "as_json": False, "timeout_s": 0.05}
    spare = NodeReport(node_id="n4", address="127.0.0.1:7004@1", up=True, replicas=0, first_of=0)
    for facts in ({"members": ("n1", "n2", "n4")}, {"change": "the voters n1, n2, n4 give way to n1, n2, n3"}):
        told = report(**facts)
        reports[:] = [msgspec.structs.replace(told, nodes=(*told.nodes, spare))]
        assert shard.run_replace_node("n4", "a:1", **options) is ExitCode.TROUBLE
        assert "groups 1, 2 have not carried it out within --timeout-s" in capsys.readouterr().err
    assert Asked.sent == []


def with_leaving(newest: Configuration, nodes: tuple[str, ...]) -> ShardReport:
    """Return what is told while group 7 leaves, and is on these nodes; n4 holds nothing yet."""
    told = report(newest)
    gone = GroupReport(group=7, nodes=nodes, leader=nodes[0], slots=0, leaving=True)
    spare = NodeReport(node_id="n4", address="127.0.0.1:7004@1", up=True, replicas=0, first_of=0)
    return msgspec.structs.replace(told, nodes=(*told.nodes, spare), groups=(*told.groups, gone))


def test_a_group_that_is_leaving_is_placed_as_well(
    reports: list[ShardReport], capsys: pytest.CaptureFixture[str]
) -> None:
    """By hand and with all that a node holds; it is waited for until it is gone."""
    later = msgspec.structs.replace(TWO, number=2)
    reports += [with_leaving(TWO, ("n1",)), with_leaving(TWO, ("n4",)), report(later)]
    options: dict[str, Any] = {"dry_run": False, "wait": True, "as_json": False, "timeout_s": 60.0}
    assert shard.run_change("place", lambda _: Place(7, ("n4",)), "a:1", **options) is ExitCode.OK
    assert "configuration 2: group 7 on n4 from now on; no slot moves; carried out" in capsys.readouterr().out
    assert Asked.sent == [("RAFTLINE.SHARD", "PLACE", 7, "n4")]
    reports[:] = [with_leaving(TWO, ("n1",)), report(later)]
    assert shard.run_replace_node("n1", "a:1", **options) is ExitCode.OK
    told = capsys.readouterr().out
    assert all(f"group {group} on n" in told for group in (1, 2, 7))
    assert told.strip().endswith("; carried out")
    reports[:] = [with_leaving(TWO, ("n1",))]
    assert shard.run_replace_node("n1", "a:1", **{**options, "wait": False}) is ExitCode.OK
    assert "; not waited for (`raftline shard status` shows what is still under way)" in capsys.readouterr().out
    reports[:] = [with_leaving(TWO, ("n4",))]
    options["dry_run"] = True
    assert shard.run_change("place", lambda _: Place(7, ("n4",)), "a:1", **options) is ExitCode.OK
    assert "nothing to do, group 7 is leaving, and on n4" in capsys.readouterr().out


def test_each_group_is_told_of_by_who_leads_it() -> None:
    """Whoever follows may be behind; a node that hosts a group knows more of it than one that does not."""
    replaced = msgspec.structs.replace
    first = report(leader="n2", keys=1)
    one, two = first.groups
    behind = replaced(first, groups=(one, replaced(two, hosted=False)))
    ahead = replaced(report(leader="n2", keys=5), node_id="n2")
    assert [group.keys for group in merged([behind, ahead]).groups] == [5, 5]
    assert [group.keys for group in merged([behind, replaced(ahead, groups=())]).groups] == [1, 1]
    assert merged([behind]).groups[1].hosted is False


def test_top_shows_groups() -> None:
    """Where there are any: leaders, slots and what is on its way."""
    look = Look(node_id="n1", address="a:1", at_s=0.0, shards=report(arriving=7))
    text = shown([frame([look], {}, "headline")])
    assert "8192-16383" in text
    assert "7 slots to come" in text
    assert "slots" not in shown([frame([msgspec.structs.replace(look, shards=None)], {}, "headline")])
