"""The shard controller: a replicated state machine that numbers configurations and keeps every one of them.

It runs in a group of its own. A change is a command, carried out once in a session however often it is sent (G8); a
question is a read. It decides who serves what, and moves nothing itself: the groups take its configurations one after
the other, each through its own log (G15).
"""

from collections.abc import Iterator

import msgspec

from raftline.errors import ChangeRefused
from raftline.replica.state_machine import StateMachine
from raftline.shards.configuration import EMPTY, Change, Configuration, changed
from raftline.shards.history import History

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


class Decision(msgspec.Struct, frozen=True, array_like=True):
    """What became of a change: `number` is the newest configuration after it; `refusal` says why it was not made."""

    number: int
    refusal: str = ""


_encode = msgspec.msgpack.Encoder().encode
_decode_change = msgspec.msgpack.Decoder(Change).decode
_decode_query = msgspec.msgpack.Decoder(int).decode
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
    """Keeps the history of configurations, from `EMPTY` on."""

    def __init__(self) -> None:
        self.kept = History()
        self.kept.append(EMPTY)
        self._loading = History()

    @property
    def history(self) -> list[Configuration]:
        """Return all configurations by number."""
        return self.kept.configurations

    @property
    def newest(self) -> Configuration:
        """Return the configuration in force."""
        return self.kept.newest

    def apply(self, command: bytes, index: int, time_ms: int) -> bytes:  # noqa: ARG002  neither decides anything here
        """Make a change and return the `Decision`, encoded; what cannot be made is refused and changes nothing."""
        try:
            self.kept.append(changed(self.newest, _decode_change(command)))
        except msgspec.MsgspecError as error:
            return _encode(Decision(self.newest.number, f"no change that this version knows: {error}"))
        except ChangeRefused as refused:
            return _encode(Decision(self.newest.number, str(refused)))
        return _encode(Decision(self.newest.number))

    def enter(self, configuration: Configuration) -> None:
        """Take over what `changed` made of the newest configuration."""
        self.kept.append(configuration)

    def read(self, query: bytes, time_ms: int) -> bytes:  # noqa: ARG002
        """Return a configuration, encoded; the newest for `LATEST` and for numbers that are not there yet.

        Raises `ValueError` for what `encode_query` did not make.
        """
        return encode_configuration(self.kept.at(_decode_query(query)))

    # Snapshots.

    def snapshot(self) -> Iterator[bytes]:
        """Return all configurations there are now."""
        return self.kept.chunks()

    @property
    def reads_while_restoring(self) -> bool:
        """Say yes: what is loaded takes the place of the rest when it is complete."""
        return True

    def restore_begin(self) -> None:
        """Begin to load the history of a snapshot."""
        self._loading = History()

    def restore_chunk(self, chunk: bytes) -> None:
        """Take the next chunk in; raises `msgspec.MsgspecError` if it cannot be read."""
        self._loading.append_chunk(chunk)

    def restore_end(self) -> None:
        """Take over what was loaded."""
        if not self._loading.configurations:
            self._loading.append(EMPTY)
        self.kept, self._loading = self._loading, History()
