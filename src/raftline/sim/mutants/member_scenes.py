"""Scenes of members that leave: nobody is left with a group who hears of nothing, or is taken for who it was before."""

from collections.abc import Callable
from random import Random

from raftline.core.changes import AddLearner, Remove
from raftline.core.config import CoreConfig
from raftline.core.events import ChangeRequested, Persisted, Received, TimerDue
from raftline.core.membership import Membership
from raftline.core.messages import AppendReply, SnapshotReply
from raftline.core.raft import Raft
from raftline.errors import SafetyViolation
from raftline.kv.sharded.meta import MetaMachine
from raftline.kv.sharded.requests import AddGroups, change_command
from raftline.replica.commands import change_membership, plain
from raftline.replica.replica import Replica
from raftline.runtime.controls import Controls
from raftline.runtime.requests import Proposal

__all__ = ["answers_of_a_former_self", "group_beside_a_removal"]

_ADDRESSES = {name: f"127.0.0.1:{7000 + number}@{17000 + number}" for number, name in enumerate(("n1", "n2"))}


def group_beside_a_removal(seed: int) -> None:
    """A group is made in the very moment in which one of its nodes is to be removed: one of the two is refused."""
    chance = Random(seed)  # noqa: S311  reproducible on purpose
    membership = Membership(voters=("n1",), learners=("n2",), addresses=tuple(_ADDRESSES.items()))
    machine = MetaMachine()
    machine.use_version(machine.version)
    replica = Replica(Raft("n1", membership, random=chance, now=0.0, config=CoreConfig()), machine)
    held: list[Proposal] = []
    controls = Controls(replica, held.append)

    def settle() -> None:
        while (ready := replica.take_ready()) is not None:
            if ready.must_persist:
                replica.step(Persisted(ready.number), 0.0)
            replica.apply_some(1000, 0.0)
            for answer in ready.answers:
                controls.on_answer(answer)

    def make() -> None:
        replica.propose([plain(change_command(AddGroups(1, _ADDRESSES)))], [lambda _outcome: None], 0.0, 0)

    def remove() -> None:
        controls.take([Proposal(change_membership(Remove("n2")), lambda _outcome: None, 100.0)], 0.0)

    replica.step(TimerDue(), 0.0)
    settle()
    plays: tuple[tuple[Callable[[], None], ...], ...] = (
        (make, remove),
        (remove, make),
        (make, settle, remove),
        (remove, settle, make),
    )
    for act in chance.choice(plays):
        act()
    settle()
    members = replica.core.state.membership.everyone()
    left = [node for _, nodes in machine.groups for node in nodes if node not in members]
    if left or held:
        raise SafetyViolation(f"{left} are to hold a group and are no members of the cluster, {len(held)} wait (G17)")
    if bool(machine.groups) == ("n2" not in members):
        raise SafetyViolation("both were refused, the group and the removal (G17)")


def answers_of_a_former_self(seed: int) -> None:
    """What a learner acknowledged comes late: it was removed and added meanwhile, or has lost its disk."""
    chance = Random(seed)  # noqa: S311  reproducible on purpose
    membership = Membership(voters=("n1",), learners=("n2",), addresses=tuple(_ADDRESSES.items()))
    leader = Raft("n1", membership, random=chance, now=0.0, config=CoreConfig())
    state = leader.state

    def settle() -> None:
        while (ready := leader.take_ready()) is not None:
            if ready.must_persist:
                leader.step(Persisted(ready.number), 0.0)

    def act(event: TimerDue | ChangeRequested | Received) -> None:
        leader.step(event, 0.0)
        settle()

    act(TimerDue())
    term, stamp = leader.term, state.stamps.use(0.0)
    late: tuple[AppendReply | SnapshotReply, ...] = (
        AppendReply(term, term, True, 0, 1, echo=stamp),  # noqa: FBT003
        SnapshotReply(term, term, 1, 0, installed=True, echo=stamp),
    )
    if chance.random() < 1 / 2:
        act(ChangeRequested(1, Remove("n2")))
        act(ChangeRequested(2, AddLearner("n2", _ADDRESSES["n2"])))
    else:
        act(Received("n2", AppendReply(term, term, True, 0, 1, echo=stamp)))  # noqa: FBT003
        lost = AppendReply(term, term, False, 1, 0, conflict_index=1, unestablished=True, echo=stamp)  # noqa: FBT003
        act(Received("n2", lost))
    act(Received("n2", chance.choice(late)))
    if state.progress["n2"].match_index:
        raise SafetyViolation("n2 holds nothing, and is taken for who it was before (E2)")
