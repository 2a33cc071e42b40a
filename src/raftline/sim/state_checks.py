"""What a state machine holds, looked at directly: equal indices, equal states, whatever way each of them came there.

The digest that replicas compare covers commands and replies, and travels inside snapshots; a snapshot that lost a key
or a session carries it unharmed. So the states themselves are noted wherever a snapshot is taken, and compared with
what was restored from it and with each other.
"""

from collections.abc import Callable, Sequence
from itertools import compress
from typing import TYPE_CHECKING, Any, NoReturn

from raftline.core.entries import SnapshotMeta
from raftline.core.ids import Index, NodeId
from raftline.errors import SafetyViolation
from raftline.kv.machine import KvMachine
from raftline.kv.values.container import Container

if TYPE_CHECKING:
    from raftline.replica.replica import Replica
    from raftline.runtime.group_loop import GroupLoop

__all__ = ["StateChecks", "difference", "state_of"]

State = dict[str, Any]

_SUMMARIES = ("count and bytes", "the store's time", "order of sessions", "time_ms")
"""Parts that follow from others and say less."""


def state_of(replica: "Replica") -> State:
    """Return what a replica's state comes to: its own part, and the keys if it is a key/value store's."""
    state: State = {f"session {number}": session for number, session in replica.sessions.dump()}
    machine = replica.machine
    if isinstance(machine, KvMachine):
        store = machine.store
        tables: tuple[tuple[str, Sequence[dict[bytes, Any]]], ...] = (
            ("key", store._values),  # noqa: SLF001  the simulator looks inside
            ("deadline of", store._deadlines),  # noqa: SLF001
        )
        for what, slots in tables:
            for slot in compress(slots, slots):
                for key, held in slot.items():
                    shown = list(held.pieces()) if isinstance(held, Container) else held
                    state[f"{what} {key.decode(errors='replace')}"] = shown
        state["count and bytes"] = (store.count, store.used_bytes)
        state["the store's time"] = store.time_ms
        state["last token"] = store.last_token
    state["order of sessions"] = [number for number, _ in replica.sessions.dump()]
    state["forgotten sessions"] = replica.sessions.forgotten
    state["time_ms"] = replica.time_ms
    state["version of commands"] = replica.version.in_force
    return state


def difference(one: State, other: State) -> str | None:
    """Say in what two states differ, None if they do not."""
    for name in sorted({**one, **other}, key=_SUMMARIES.__contains__):
        if one.get(name) != other.get(name):
            return f"{name}: {_shown(one.get(name))} and {_shown(other.get(name))}"
    return None


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:56]} ..."


class StateChecks:
    """The states at which snapshots were taken, by index."""

    def __init__(self) -> None:
        self._taken: dict[Index, tuple[NodeId, State]] = {}

    def watch(self, name: NodeId, group: "GroupLoop") -> None:
        """Look at what an incarnation began with, at each snapshot it takes and at each that it restores."""
        replica, snapshotting = group.replica, group.snapshotting
        if replica.applied:
            self._on_restored(name, replica)
        take, restore = snapshotting.take, snapshotting.restore

        def watched_take() -> None:
            self._on_taken(name, replica)
            take()

        def watched_restore(meta: SnapshotMeta, done: Callable[[], None]) -> None:
            def watched_done() -> None:
                self._on_restored(name, replica)
                done()
                if replica.has_work and not group._scheduled:  # noqa: SLF001  the simulator looks inside
                    self._violated(name, "restored a snapshot and leaves what is committed behind it lying (F10)")

            restore(meta, watched_done)
            queue = replica._to_apply  # noqa: SLF001  as above
            if replica.restoring is None or (queue and queue[0].index <= meta.index):
                self._violated(name, f"goes on applying, with a snapshot at {meta.index} on its way (D11, F11)")

        snapshotting.take = watched_take  # type: ignore[method-assign]
        snapshotting.restore = watched_restore  # type: ignore[method-assign]

    def check_equal(self, replicas: dict[NodeId, "Replica"]) -> None:
        """Hold states at equal positions against each other."""
        known: dict[Index, tuple[NodeId, State]] = {}
        for name, replica in replicas.items():
            other, state = known.setdefault(replica.applied, (name, state_of(replica)))
            if other != name:
                self._compare(name, replica, other, state, "at the end")

    def _on_taken(self, name: NodeId, replica: "Replica") -> None:
        other, state = self._taken.setdefault(replica.applied, (name, state_of(replica)))
        if other != name:
            self._compare(name, replica, other, state, "taking a snapshot")

    def _on_restored(self, name: NodeId, replica: "Replica") -> None:
        found = self._taken.get(replica.applied)
        if found is None:
            self._violated(name, f"restored a snapshot at index {replica.applied}, where nobody took one (D2)")
        self._compare(name, replica, *found, "restoring a snapshot")

    def _compare(self, name: NodeId, replica: "Replica", other: NodeId, state: State, when: str) -> None:
        differs = difference(state_of(replica), state)
        if differs is not None:
            self._violated(
                name,
                f"{when} at index {replica.applied}, its state is not that of {other} there: {differs} (D2, G9, G14)",
            )

    def _violated(self, name: NodeId, what: str) -> NoReturn:
        raise SafetyViolation(f"{name}: {what}")
