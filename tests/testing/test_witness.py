"""What is noticed about a user's state machine, and what is not changed about it."""

import zlib
from collections.abc import Callable, Iterable

import pytest

import raftline
from raftline.testing.witness import Watched, Witness, shown


class Log(raftline.StateMachine):
    """Remembers what it was told to do, and gives back what it is told to."""

    def __init__(self, *, offset: int = 0) -> None:
        self.calls: list[object] = []
        self.state = b"s"
        self.offset = offset

    def apply(self, command: bytes, index: int, time_ms: int) -> bytes:
        self.calls.append(("apply", command, index, time_ms))
        if command == b"raise":
            raise KeyError(self.offset)
        return b"%d" % (int(command) + self.offset)

    def read(self, query: bytes, time_ms: int) -> bytes:
        return query + b"%d" % time_ms

    def snapshot(self) -> Iterable[bytes]:
        return [self.state, b"!"]

    def restore(self, chunks: Iterable[bytes]) -> None:
        self.state = b"".join(chunks).removesuffix(b"!")


class Other(Log):
    """Fails in another way."""

    def apply(self, command: bytes, index: int, time_ms: int) -> bytes:
        raise ValueError(command, index, time_ms)


def watch(*machines: Log, compare_snapshots: bool = True) -> tuple[Witness, list[Watched]]:
    """Return a witness of machines that belong to n1, n2 and so on."""
    names: dict[raftline.StateMachine, str] = {}
    witness = Witness(lambda machine: names[machine], compare_snapshots=compare_snapshots)
    watched = [Watched(machine, witness) for machine in machines]
    names.update({machine: f"n{number}" for number, machine in enumerate(watched, 1)})
    return witness, watched


def restore(machine: Watched, *chunks: bytes) -> None:
    """Restore as a node does it."""
    machine.restore_begin()
    for chunk in chunks:
        machine.restore_chunk(chunk)
    machine.restore_end()


def test_everything_reaches_the_machine_unchanged() -> None:
    """Arguments and results, queries, snapshots and what is restored from them."""
    inner = Log()
    witness, (machine,) = watch(inner)
    assert machine.apply(b"7", 3, 1000) == b"7"
    assert inner.calls == [("apply", b"7", 3, 1000)]
    assert machine.read(b"q", 5) == b"q5"
    assert list(machine.snapshot()) == [b"s", b"!"]
    restore(machine, b"t", b"!")
    assert inner.state == b"t"
    with pytest.raises(KeyError):
        machine.apply(b"raise", 4, 1000)
    assert witness.finding is None


def test_equal_results_are_fine_however_often_they_are_given() -> None:
    """Other nodes apply the same, and a node that starts again does so again."""
    witness, (one, other, again) = watch(Log(), Log(), Log())
    for machine in (one, other, again):
        machine.apply(b"7", 1, 0)
        with pytest.raises(KeyError):
            machine.apply(b"raise", 2, 0)
    assert witness.finding is None


def test_another_result_is_told_with_command_index_and_nodes() -> None:
    """Who returned what for which command (G1)."""
    witness, (one, other) = watch(Log(), Log(offset=1))
    one.apply(b"7", 12, 0)
    other.apply(b"7", 12, 0)
    assert isinstance(witness.finding, raftline.Diverged)
    assert str(witness.finding) == (
        "apply() is not deterministic: for the command b'7' at index 12 n1 returned b'7', and n2 b'8'"
    )
    first = witness.finding
    one.apply(b"9", 13, 0)
    other.apply(b"9", 13, 0)
    assert witness.finding is first


def test_another_exception_is_another_result() -> None:
    """What `apply` raises is its result; only the kind counts, as in the digest that nodes compare."""
    witness, (one, other, third) = watch(Log(), Log(offset=5), Other())
    for machine in (one, other):
        with pytest.raises(KeyError):
            machine.apply(b"raise", 1, 0)
    assert witness.finding is None
    with pytest.raises(ValueError, match="raise"):
        third.apply(b"raise", 1, 0)
    assert "n1 returned b'raised KeyError', and n3 b'raised ValueError'" in str(witness.finding)


def test_another_command_is_none_of_its_business() -> None:
    """Different commands at one index are Raft's fault, and other checks are there for it."""
    witness, (one, other) = watch(Log(), Log())
    one.apply(b"7", 1, 0)
    other.apply(b"8", 1, 0)
    assert witness.finding is None


class Forgetful(Log):
    """Its restore leaves something out."""

    def restore(self, chunks: Iterable[bytes]) -> None:
        self.state = b"".join(chunks)[:1]


def test_a_restore_that_loses_something_is_found_at_once() -> None:
    """The snapshot made right after restoring is the one that was restored, unless snapshots may differ."""
    witness, (machine,) = watch(Forgetful())
    restore(machine, b"long", b"!")
    assert isinstance(witness.finding, raftline.SafetyViolation)
    assert "n1 restored b'long!', and its own snapshot right afterwards is b'l!'" in str(witness.finding)
    witness, (machine,) = watch(Forgetful(), compare_snapshots=False)
    restore(machine, b"long", b"!")
    assert witness.finding is None


class Upgraded(Log):
    """Writes its snapshots in another form once it may."""

    version = 2

    def __init__(self) -> None:
        super().__init__()
        self.form = b"!"

    def use_version(self, version: int) -> None:
        self.form = b"!!" if version == 2 else b"!"

    def snapshot(self) -> Iterable[bytes]:
        return [self.state, self.form]

    def restore(self, chunks: Iterable[bytes]) -> None:
        self.state = b"".join(chunks).rstrip(b"!")


class Lossy(Upgraded):
    """Its restore leaves something out."""

    def restore(self, chunks: Iterable[bytes]) -> None:
        self.state = b"".join(chunks).rstrip(b"!")[:1]


@pytest.mark.parametrize("form", [b"!", b"!!"])
def test_a_machine_that_is_to_hear_of_a_version_after_a_restore_is_compared_then(form: bytes) -> None:
    """Only then does it know the form; or the version comes from the log, and the form was the one of before."""
    witness, (machine,) = watch(Upgraded())
    restore(machine, b"long", form)
    machine.use_version(2)
    machine.apply(b"1", 1, 0)
    assert witness.finding is None
    assert list(machine.snapshot()) == [b"long", b"!!"]


@pytest.mark.parametrize(
    "then",
    [
        lambda machine: machine.use_version(2),
        lambda machine: machine.apply(b"1", 1, 0),
        lambda machine: machine.read(b"", 0),
        lambda machine: machine.snapshot(),
        lambda machine: machine.restore_begin(),
        lambda machine: machine.on_membership(["n1"]),
        lambda machine: machine.on_history_lost(),
    ],
)
def test_what_such_a_machine_lost_is_found_with_the_next_call(then: Callable[[Watched], object]) -> None:
    """Whatever that is: what it does cannot bring anything back."""
    witness, (machine,) = watch(Lossy())
    restore(machine, b"long", b"!!")
    assert witness.finding is None
    then(machine)
    assert "n1 restored b'long!!', and its own snapshot right afterwards is b'l!" in str(witness.finding)


def test_bytes_are_shown_up_to_a_length() -> None:
    """A result of a megabyte does not fill the terminal."""
    assert shown(b"x\x00") == r"b'x\x00'"
    long = shown(zlib.compress(bytes(range(256)) * 100))
    assert len(long) < 120
    assert long.endswith(" bytes)")
