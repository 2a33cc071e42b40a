"""The shard controller: a replicated state machine that numbers configurations and keeps every one of them.

It runs in a group of its own. A change is a command, carried out once in a session however often it is sent (G8); a
question is a read. It decides who serves what, and moves nothing itself: the groups take its configurations one after
the other, each through its own log (G15).
"""

from collections.abc import Iterable, Iterator

import msgspec

from raftline.errors import ChangeRefused
from raftline.replica.state_machine import StateMachine
from raftline.shards.configuration import EMPTY, Change, Configuration, changed

__all__ = [
    "LATEST",
    "ControllerMachine",
    "Decision",
    "decode_configuration",
    "decode_decision",
    "encode_change",
    "encode_configuration",
    "encode_query",
]

LATEST = -1
"""Asks for the newest configuration, whatever its number."""

_CHUNK_CONFIGURATIONS = 64
_CHUNK_BYTES = 256 << 10


class Decision(msgspec.Struct, frozen=True, array_like=True):
    """What became of a change: `number` is the newest configuration after it; `refusal` says why it was not made."""

    number: int
    refusal: str = ""


_encode = msgspec.msgpack.Encoder().encode
_decode_change = msgspec.msgpack.Decoder(Change).decode
_decode_query = msgspec.msgpack.Decoder(int).decode
_decode_history = msgspec.msgpack.Decoder(list[Configuration]).decode
decode_decision = msgspec.msgpack.Decoder(Decision).decode
"""Return what `apply` answered; raises `msgspec.MsgspecError`."""
decode_configuration = msgspec.msgpack.Decoder(Configuration).decode
"""Return what `read` answered; raises `msgspec.MsgspecError`."""


def encode_change(change: Change) -> bytes:
    """Return a change as the command that stands in the log."""
    return _encode(change)


def encode_configuration(configuration: Configuration) -> bytes:
    """Return a configuration as `read` answers it."""
    return _encode(configuration)


def encode_query(number: int = LATEST) -> bytes:
    """Return the question for a configuration by its number."""
    return _encode(number)


class ControllerMachine(StateMachine):
    """Keeps the history of configurations.

    Invariant: `history[n]` has number n, and follows from `history[n - 1]` by one change.
    """

    def __init__(self) -> None:
        self.history: list[Configuration] = [EMPTY]

    @property
    def newest(self) -> Configuration:
        """Return the configuration in force."""
        return self.history[-1]

    def apply(self, command: bytes, index: int, time_ms: int) -> bytes:  # noqa: ARG002  neither decides anything here
        """Make a change and return the `Decision`, encoded; what cannot be made is refused and changes nothing."""
        try:
            self.history.append(changed(self.newest, _decode_change(command)))
        except msgspec.MsgspecError as error:
            return _encode(Decision(self.newest.number, f"no change that this version knows: {error}"))
        except ChangeRefused as refused:
            return _encode(Decision(self.newest.number, str(refused)))
        return _encode(Decision(self.newest.number))

    def read(self, query: bytes, time_ms: int) -> bytes:  # noqa: ARG002
        """Return a configuration, encoded; the newest for `LATEST` and for numbers that are not there yet.

        Raises `ValueError` for what `encode_query` did not make.
        """
        number = _decode_query(query)
        return encode_configuration(self.history[number] if 0 <= number < len(self.history) else self.newest)

    def snapshot(self) -> Iterable[bytes]:
        """Return all configurations there are now; later ones are appended behind what this looks at."""
        return self._chunks(len(self.history))

    def _chunks(self, count: int) -> Iterator[bytes]:
        pieces: list[Configuration] = []
        size = 0
        for number in range(count):
            pieces.append(self.history[number])
            size += len(_encode(self.history[number]))
            if len(pieces) == _CHUNK_CONFIGURATIONS or size >= _CHUNK_BYTES:
                yield _encode(pieces)
                pieces, size = [], 0
        if pieces:
            yield _encode(pieces)

    def restore(self, chunks: Iterable[bytes]) -> None:
        """Take over the history of a snapshot."""
        self.history = [configuration for chunk in chunks for configuration in _decode_history(chunk)]
