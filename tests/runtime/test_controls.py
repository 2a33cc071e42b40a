"""Requests to the leader itself: handed over when it can decide, answered once, never lost."""

from types import SimpleNamespace
from typing import Any

import pytest

from raftline.core.changes import AddLearner, Remove
from raftline.core.events import ChangeRequested, TransferRequested
from raftline.core.ready import Answer, Verdict
from raftline.errors import ChangeRefused, Stopped
from raftline.replica.commands import change_membership, plain, transfer_leadership
from raftline.runtime.controls import Controls
from raftline.runtime.requests import Proposal

ADD = AddLearner("n4", "127.0.0.1:7004@17004", promote=True)


def _fake(**facts: object) -> Any:
    """Stand for an object of which only these facts are looked at."""
    return SimpleNamespace(**facts)


class _Bench:
    def __init__(self) -> None:
        self.core = _fake(has_settled=True, awaits_voters=False, is_changing_by_itself=False)
        self.stepped: list[Any] = []
        self.objections: dict[str, str] = {}
        self.replica: Any = _fake(
            core=self.core,
            step=lambda event, _now: self.stepped.append(event),
            restoring=None,
            objection_to_removal=self.objections.get,
        )
        self.held: list[Proposal] = []
        self.controls = Controls(self.replica, self.held.append)
        self.outcomes: list[Any] = []

    def proposal(self, command: bytes) -> Proposal:
        return Proposal(command, self.outcomes.append, 100.0)

    def take(self, *commands: bytes) -> list[bytes]:
        rest = self.controls.take([self.proposal(command) for command in commands], 0.0)
        return [proposal.command for proposal in rest]


def test_requests_go_to_the_core_and_commands_into_the_log() -> None:
    """In one batch, in their order."""
    bench = _Bench()
    first, last = plain(b"a"), plain(b"b")
    assert bench.take(first, change_membership(ADD), last, transfer_leadership("n2")) == [first, last]
    assert bench.stepped == [ChangeRequested(1, ADD), TransferRequested(2, "n2")]


@pytest.mark.parametrize(
    ("fact", "value"), [("has_settled", False), ("awaits_voters", True), ("is_changing_by_itself", True)]
)
def test_what_the_leader_can_decide_in_a_moment_waits_for_it(fact: str, value: bool) -> None:  # noqa: FBT001
    """Refusing it would only make the caller ask again (K1)."""
    bench = _Bench()
    setattr(bench.core, fact, value)
    bench.take(change_membership(ADD))
    assert len(bench.held) == 1
    assert not bench.stepped
    assert not bench.outcomes


def test_the_state_machine_is_asked_before_a_member_is_removed() -> None:
    """In the same turn, and of nothing else; while it is being restored it knows nothing: the request waits (G17)."""
    bench = _Bench()
    bench.objections["n2"] = "n2 holds something"
    bench.take(change_membership(Remove("n2")), change_membership(Remove("n3")), transfer_leadership("n2"))
    assert bench.stepped == [ChangeRequested(2, Remove("n3")), TransferRequested(3, "n2")]
    (refused,) = bench.outcomes
    assert isinstance(refused, ChangeRefused)
    assert str(refused) == "n2 holds something"
    bench.replica.objection_to_removal = lambda _node: 1 / 0
    bench.take(change_membership(Remove("n3")))
    assert "raised ZeroDivisionError" in str(bench.outcomes[1])
    bench.replica.restoring = object()
    bench.take(change_membership(Remove("n3")), change_membership(ADD))
    assert bench.stepped[2:] == [ChangeRequested(6, ADD)]
    assert len(bench.held) == 1


def test_each_outcome_is_told_in_its_own_words() -> None:
    """Done, refused, unknown; somebody else has to decide: it is held for that one, having changed nothing."""
    bench = _Bench()
    bench.take(*[transfer_leadership(None)] * 4)
    bench.controls.on_answer(Answer(1, Verdict.DONE))
    bench.controls.on_answer(Answer(2, Verdict.REFUSED, "one at a time"))
    bench.controls.on_answer(Answer(3, Verdict.UNKNOWN, "the leadership was lost"))
    for _ in range(2):
        bench.controls.on_answer(Answer(4, Verdict.NOT_LEADER))
    done, refused, unknown = bench.outcomes
    assert done == b""
    assert isinstance(refused, ChangeRefused)
    assert "one at a time" in str(refused)
    assert isinstance(unknown, Stopped)
    (held,) = bench.held
    assert not held.may_take_effect


def test_an_answer_to_nobody_is_no_trouble() -> None:
    """As to the transfer that a node asks for by itself before it stops; each request is answered once."""
    bench = _Bench()
    own = bench.controls.next_id()
    bench.take(transfer_leadership(None))
    assert bench.stepped == [TransferRequested(own + 1, None)]
    for number in (own, own + 1, own + 1):
        bench.controls.on_answer(Answer(number, Verdict.DONE))
    assert bench.outcomes == [b""]


def test_a_request_of_another_version_is_refused() -> None:
    """It cannot be read, and must not wait for ever."""
    bench = _Bench()
    bench.take(change_membership(ADD)[:1] + b"\xc1")
    assert isinstance(bench.outcomes[0], ChangeRefused)
