"""Locks by the log: replayed entry by entry beside whoever applies it first, with rules of its own.

At every position of the log a lock has one holder or none; a lease ends by the log's time and no renewal brings it
back; every acquisition's token is above all that were given before, whatever the lock. What is applied later, on other
nodes or after a restart, has to come to the same replies, which others check (G1).
"""

from collections.abc import Callable

import msgspec

from raftline.core.ids import Index
from raftline.errors import SafetyViolation

__all__ = ["LockChecks"]

Apply = Callable[[bytes, Index, int], bytes]

_MARK = b"RAFTLINE.LOCK|"
_MARK_WITHIN = 24
"""A command's name stands at its very beginning."""

_decode = msgspec.msgpack.Decoder(list[bytes]).decode


class _Held(msgspec.Struct):
    """Who holds a lock, as the rules have it."""

    owner: bytes
    token: int
    until_ms: int


class LockChecks:
    """The model; invariant: it has seen every entry up to `_index` that holds a command about locks."""

    def __init__(self) -> None:
        self._index: Index = 0
        self._time_ms = 0
        self._held: dict[bytes, _Held] = {}
        self._highest = 0
        self._violation = ""
        """Found in the middle of `apply`, where exceptions are results."""
        self.acquired = 0
        self.refused = 0
        self.ran_out = 0
        """Leases that ended while nobody had given the lock back."""

    def watched(self, apply: Apply) -> Apply:
        """Return a machine's `apply`, looked at from outside."""

        def watched_apply(command: bytes, index: Index, time_ms: int) -> bytes:
            reply = apply(command, index, time_ms)
            if index > self._index:
                self._index = index
                self._time_ms = max(self._time_ms, time_ms)
                if _MARK in command[:_MARK_WITHIN]:
                    self._note(_decode(command), reply)
            return reply

        return watched_apply

    def check(self) -> None:
        """Raise `SafetyViolation` if a reply was not what the rules say."""
        if self._violation:
            raise SafetyViolation(self._violation)

    def _note(self, args: list[bytes], reply: bytes) -> None:
        """Hold a reply against what the rules say."""
        verb, name, owner = args[1].upper(), args[2], args[3]
        held = self._held.get(name)
        if held is not None and held.until_ms <= self._time_ms:
            self.ran_out += 1
            del self._held[name]
            held = None
        if verb == b"ACQUIRE":
            self._on_acquire(name, owner, int(args[4]), held, reply)
            return
        is_holder = held is not None and held.owner == owner and held.token == int(args[4])
        if reply.startswith(b"-") == is_holder:
            self._violated(name, f"{verb.decode()} by {owner.decode()}, token {args[4].decode()}", held, reply)
        if is_holder and held is not None:
            if verb == b"RELEASE":
                del self._held[name]
            else:
                held.until_ms = self._time_ms + int(args[5])

    def _on_acquire(self, name: bytes, owner: bytes, lease_ms: int, held: _Held | None, reply: bytes) -> None:
        asked = f"ACQUIRE by {owner.decode()}"
        if reply.startswith(b"-"):
            self.refused += 1
            if held is None or held.owner == owner:
                self._violated(name, asked, held, reply)
            return
        token = int(reply[1:])
        if held is not None:
            if held.owner != owner or held.token != token:
                self._violated(name, asked, held, reply)
            held.until_ms = self._time_ms + lease_ms
            return
        if token <= self._highest:
            self._violated(name, f"{asked} after a token of {self._highest}", held, reply)
        self._highest = token
        self.acquired += 1
        self._held[name] = _Held(owner, token, self._time_ms + lease_ms)

    def _violated(self, name: bytes, asked: str, held: _Held | None, reply: bytes) -> None:
        holder = "nobody holds it"
        if held is not None:
            left_ms = held.until_ms - self._time_ms
            holder = f"{held.owner.decode()} holds it with token {held.token} for {left_ms} ms more"
        self._violation = self._violation or (
            f"lock {name.decode()}, index {self._index}: {asked} is answered {reply.decode().strip()!r}, while {holder}"
        )
