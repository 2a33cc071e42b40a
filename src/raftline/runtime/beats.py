"""Signs of life between nodes, in place of the heartbeats of all their groups that sleep (`core/quiescence.py`).

A sleeping replica starts nothing by itself: it relies on the node of its leader, or on those of its followers. While
there is such a group a `Beat` goes each way once per heartbeat interval. Whoever is silent for the longest election
timeout, whose connection breaks or who begins another life is suspected, and the groups that rely on it are woken; when
a node comes back, those are woken that fell asleep without it. A connection to it is sign enough: with an empty disk it
knows nobody to answer, until a leader speaks to it. It refuses to know what a group does once it is awake.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Callable
from math import ceil
from typing import TypeAlias

import msgspec

from raftline.core.config import CoreConfig
from raftline.core.events import Event, Woken
from raftline.core.ids import GroupId, NodeId
from raftline.core.messages import Beat
from raftline.core.raft import Raft
from raftline.runtime.ports import Transport

__all__ = ["Beats", "Common"]

_NO_GROUP: GroupId = -1
_WOKEN_PER_TURN = 16
"""So many groups wake in one turn of the event loop: the rest of the node is not held up by a thousand."""
_ASKED_EVERY = 10
"""Nodes on which nothing relies are asked for a sign of life only with every so-manieth beat."""
_RETRY_TIMEOUTS = 10
"""A member that did not answer although its node lives is tried again after so many of the longest timeouts."""


_COMMON_MAX = 16
_COMMON_BYTES_MIN, _COMMON_BYTES_MAX = 128, 1 << 16

_Kind: TypeAlias = tuple[tuple[NodeId, ...], tuple[NodeId, ...]]
"""On whom a replica relies, and whom it sleeps without."""


class _Sleeper(msgspec.Struct, eq=False):
    """A sleeping replica; `post` leads back to its node, so the garbage collector has to follow it."""

    post: Callable[[Event], None]
    relies_on: tuple[NodeId, ...]
    without: tuple[NodeId, ...]
    since: float


class Common:
    """Data that sleeping groups have in common, as the commands have that tell each of them the same.

    Invariant: at most `_COMMON_MAX`, each of at least `_COMMON_BYTES_MIN` bytes and at most `_COMMON_BYTES_MAX`.
    """

    def __init__(self) -> None:
        self._known: dict[bytes, bytes] = {}

    def same(self, data: bytes) -> bytes:
        """Return equal data, the same object for all who ask."""
        if not _COMMON_BYTES_MIN <= len(data) <= _COMMON_BYTES_MAX:
            return data
        known = self._known.setdefault(data, data)
        if known is data and len(self._known) > _COMMON_MAX:
            del self._known[next(iter(self._known))]
        return known


class Beats:
    """The sleeping groups of one node, and what is heard of other nodes.

    Invariants: the timer runs as long as anybody sleeps; `_kinds` counts the sleepers of each kind; `_silent` counts,
    for each node that a sleeper names, the beats since it was heard last: beats and not seconds, because a node that
    stood still must not blame others; `_unreached` holds who was out of reach since the last beat, of those whom a
    sleeper sleeps without.
    """

    def __init__(
        self, config: CoreConfig, loop: asyncio.AbstractEventLoop, transport: Transport, life: Callable[[], int]
    ) -> None:
        """`life` tells this life of the node from every other; asked once, when it is needed."""
        self._interval_s = config.heartbeat_interval_s
        self._silent_max = ceil(config.election_timeout_s[1] / config.heartbeat_interval_s)
        self._retry_s = _RETRY_TIMEOUTS * config.election_timeout_s[1]
        self._loop = loop
        self._transport = transport
        self._draw_life = life
        self._life: int | None = None
        self._heard: set[NodeId] = set()
        self._silent: dict[NodeId, int] = {}
        self._unreached: set[NodeId] = set()
        self._lives: dict[NodeId, int] = {}
        self.sleepers: dict[GroupId, _Sleeper] = {}
        """The groups that sleep on this node."""
        self._common = Common()
        self._kinds: Counter[_Kind] = Counter()
        self._to_wake: deque[tuple[GroupId, NodeId | None]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._count = 0
        self._stopped = False

    def follow(self, group: GroupId, core: Raft, post: Callable[[Event], None]) -> None:
        """Watch over a replica if it sleeps, and over no other."""
        if core.is_asleep:
            if group not in self.sleepers:
                core.state.log.share(self._common.same)
            self.note_asleep(group, post, core.sleeps_with, core.sleeps_without)
        else:
            self.note_awake(group)

    def note_asleep(
        self, group: GroupId, post: Callable[[Event], None], relies_on: tuple[NodeId, ...], without: tuple[NodeId, ...]
    ) -> None:
        """Watch over a replica that sleeps, or sleeps otherwise than it did; `post` takes the `Woken`."""
        known = self.sleepers.get(group)
        if known is not None and (known.relies_on, known.without) == (relies_on, without):
            return
        self.note_awake(group)
        since = self._loop.time() if known is None else known.since
        self.sleepers[group] = _Sleeper(post, relies_on, without, since)
        self._kinds[relies_on, without] += 1
        if self._timer is None and not self._stopped:
            self._heard.clear()
            self._silent.clear()
            self._unreached.clear()
            self._timer = self._loop.call_later(self._interval_s, self._tick)

    def note_awake(self, group: GroupId) -> None:
        """Let go of a replica that is awake, or gone."""
        known = self.sleepers.pop(group, None)
        if known is not None:
            kind = (known.relies_on, known.without)
            self._kinds[kind] -= 1
            if not self._kinds[kind]:
                del self._kinds[kind]

    def on_beat(self, sender: NodeId, beat: Beat) -> None:
        """Take a sign of life in; another life than before means that what slept there is gone."""
        self._heard.add(sender)
        before = self._lives.get(sender)
        self._lives[sender] = beat.life
        if before is not None and before != beat.life:
            self.on_lost(sender)
        if beat.asks:
            self._transport.send(sender, _NO_GROUP, Beat(self._own_life()))
            self._transport.flush()

    def on_lost(self, peer: NodeId) -> None:
        """Suspect a node at once: its connection broke."""
        self._unreached.add(peer)
        self._silent[peer] = self._silent_max
        self._suspect(peer)

    def stop(self) -> None:
        """Say and watch nothing any more."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
        self._to_wake.clear()

    def _tick(self) -> None:
        """Say that this node lives, and look at who did not."""
        self._timer = None
        if not self.sleepers or self._stopped:
            return
        self._timer = self._loop.call_later(self._interval_s, self._tick)
        relied_on = dict.fromkeys(peer for kind in self._kinds for peer in kind[0])
        missed = dict.fromkeys(peer for kind in self._kinds for peer in kind[1])
        self._say(relied_on, missed)
        heard, self._heard = self._heard, set()
        unreached = self._unreached
        self._unreached = {peer for peer in missed if not self._transport.reaches(peer)}
        for peer in relied_on | missed:
            before = self._silent.get(peer, 0)
            self._silent[peer] = 0 if peer in heard else before + 1
            is_reached = peer not in self._unreached
            if peer in missed and (peer in heard or is_reached):
                was_silent = peer in heard and before >= self._silent_max
                self._on_there(peer, was_away=was_silent or (is_reached and peer in unreached))
            if peer in relied_on and self._silent[peer] >= self._silent_max:
                self._suspect(peer)

    def _say(self, relied_on: dict[NodeId, None], missed: dict[NodeId, None]) -> None:
        self._count += 1
        beat = Beat(self._own_life())
        for peer in relied_on:
            self._transport.send(peer, _NO_GROUP, beat)
        if self._count % _ASKED_EVERY == 0:
            question = Beat(self._own_life(), asks=True)
            for peer in missed:
                if peer not in relied_on:
                    self._transport.send(peer, _NO_GROUP, question)
        self._transport.flush()

    def _suspect(self, peer: NodeId) -> None:
        self._wake([group for group, sleeper in self.sleepers.items() if peer in sleeper.relies_on], peer)

    def _on_there(self, peer: NodeId, *, was_away: bool) -> None:
        """Wake who fell asleep without a node that is back; or that was there, but whose replica did not answer."""
        before = self._loop.time() - self._retry_s
        back = [
            group
            for group, sleeper in self.sleepers.items()
            if peer in sleeper.without and (was_away or sleeper.since <= before)
        ]
        self._wake(back, None)

    def _wake(self, groups: list[GroupId], suspected: NodeId | None) -> None:
        if not groups:
            return
        if not self._to_wake:
            self._loop.call_soon(self._wake_some)
        self._to_wake.extend((group, suspected) for group in groups)

    def _wake_some(self) -> None:
        for _ in range(min(_WOKEN_PER_TURN, len(self._to_wake))):
            group, suspected = self._to_wake.popleft()
            sleeper = self.sleepers.get(group)
            if sleeper is not None:
                sleeper.post(Woken(suspected))
        if self._to_wake:
            self._loop.call_soon(self._wake_some)

    def _own_life(self) -> int:
        if self._life is None:
            self._life = self._draw_life()
        return self._life
