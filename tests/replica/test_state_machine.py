"""What the base class of state machines takes from its users: no names, and nothing that stays."""

from collections.abc import Iterable

from raftline import StateMachine


class Shop(StateMachine):
    """Has an attribute of a name that ours might have, and all of its state in its dictionary."""

    def __init__(self) -> None:
        self._restoring = "furniture"
        self._chunks = 7
        self.sold: list[bytes] = []

    def apply(self, command: bytes, index: int, time_ms: int) -> bytes:  # noqa: ARG002
        self.sold.append(command)
        return self._restoring.encode()

    def snapshot(self) -> Iterable[bytes]:
        return list(self.sold)

    def restore(self, chunks: Iterable[bytes]) -> None:
        self.seen = dict(vars(self))
        self.sold = list(chunks)


def restore(machine: StateMachine, *chunks: bytes) -> None:
    """Restore as a node does."""
    machine.restore_begin()
    for chunk in chunks:
        machine.restore_chunk(chunk)
    machine.restore_end()


def test_a_restore_leaves_attributes_of_the_machine_alone() -> None:
    """Whatever they are called; and adds none, which a machine that writes down all of them would take for its own."""
    machine = Shop()
    restore(machine, b"a", b"b")
    assert machine.apply(b"c", 1, 0) == b"furniture"
    seen = vars(machine).pop("seen")
    assert vars(machine) == {"_restoring": "furniture", "_chunks": 7, "sold": [b"a", b"b", b"c"]}
    assert seen == {"_restoring": "furniture", "_chunks": 7, "sold": []}


def test_a_restore_that_was_given_up_leaves_nothing_to_the_next_one() -> None:
    """A newer snapshot takes over: only its chunks count."""
    machine = Shop()
    machine.restore_begin()
    machine.restore_chunk(b"old")
    restore(machine, b"new")
    assert machine.sold == [b"new"]
