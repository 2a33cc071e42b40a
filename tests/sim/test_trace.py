"""The trace: a line per transition, a column per node, and a digest of it all."""

from types import SimpleNamespace
from typing import Any

from raftline.core.state import Role
from raftline.sim.trace import Trace


def member(name: str, role: Role | None = None, term: int = 0, **changes: bool) -> Any:
    """Return a stand-in for a machine of the cluster."""
    state = {"alive": True, "paused": False, "ready": role is not None, **changes}
    loop = SimpleNamespace(alive=state["alive"], paused=state["paused"])
    core = SimpleNamespace(role=role, term=term)
    node = SimpleNamespace(_group=SimpleNamespace(replica=SimpleNamespace(core=core)))
    return SimpleNamespace(name=name, loop=loop, node=node, ready=state["ready"])


def trace_of(*members: Any, keep: bool = True, lines_max: int = 100) -> Trace:
    """Return a trace that watches a cluster of these at 12.5 s."""
    trace = Trace(keep=keep, lines_max=lines_max)
    cluster: Any = SimpleNamespace(everybody={each.name: each for each in members}, world=SimpleNamespace(now=12.5))
    trace.watch(cluster)
    return trace


def test_lines_are_aligned() -> None:
    """Time, role and term of each node, then what happened where."""
    trace = trace_of(
        member("n1", Role.LEADER, 3),
        member("n2", Role.FOLLOWER, 12),
        member("n3", Role.PRE_CANDIDATE, 3),
        member("n4", Role.CANDIDATE, 4),
    )
    trace.note("n1", "send", "n1>n2 hello")
    trace.note("", "heal", "")
    assert trace.lines == [
        "  12.500000 | n1 L 3   | n2 F 12  | n3 P 3   | n4 C 4   | n1  send             n1>n2 hello",
        "  12.500000 | n1 L 3   | n2 F 12  | n3 P 3   | n4 C 4   |     heal",
    ]


def test_who_is_not_there_is_marked() -> None:
    """Down, paused and starting have signs of their own."""
    trace = trace_of(member("n1", alive=False), member("n2", Role.LEADER, paused=True), member("n3"))
    trace.note("n3", "start", "")
    assert trace.lines == ["  12.500000 | n1 .     | n2 z     | n3 +     | n3  start"]


def test_the_digest_covers_what_is_not_kept() -> None:
    """Equal lines, equal digests, kept or not; one letter more, another digest."""
    digests = set()
    for keep, lines_max in ((True, 100), (False, 100), (True, 1)):
        trace = trace_of(member("n1", Role.LEADER, 1), keep=keep, lines_max=lines_max)
        for number in range(3):
            trace.note("n1", "send", str(number))
        assert len(trace.lines) == min(3 if keep else 0, lines_max)
        digests.add(trace.digest())
    assert len(digests) == 1
    trace.note("n1", "send", "more")
    assert trace.digest() not in digests
