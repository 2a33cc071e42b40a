"""Where a command goes: its keys decide the slot, the slot the group, and the group a place on this node or elsewhere.

Nothing that is said here is more than a good guess: whether a slot is served is decided where the command is carried
out (G15). A slot that moves is looked for at the group that gives it and at the one that gets it, in turns.
"""

from collections.abc import Callable
from typing import Literal, TypeAlias

from raftline.core.ids import GroupId, NodeId
from raftline.errors import NotServed
from raftline.kv.bundles import Bundles
from raftline.kv.resp.replies import error
from raftline.kv.sharded.machine import ShardMachine
from raftline.kv.sharded.ports import Groups, HostedGroup, RemoteGroup, ShardGroup
from raftline.kv.slots import slot_of
from raftline.kv.store import Store
from raftline.kv.waiting import Waiting
from raftline.runtime.requests import Consistency
from raftline.shards.configuration import EMPTY, Configuration
from raftline.shards.ranges import NOBODY, SLOT_COUNT

__all__ = ["Away", "Here", "Place", "Redirects", "Router"]

Redirects: TypeAlias = Literal["auto", "always", "never"]
"""Who is told to ask another node: who knows the slots, everybody, or nobody."""

_CLUSTER_DOWN = error("CLUSTERDOWN Hash slot not served")
_NOTHING_KNOWN = "this node has not learned yet which groups there are"


class Here:
    """A group of which this node holds a replica, and who waits at it."""

    __slots__ = ("bundles", "group", "id", "is_current", "is_ticking", "machine", "reviewed", "serves", "waiting")

    def __init__(self, number: GroupId, hosted: HostedGroup, waited_keys_max: int) -> None:
        self.id = number
        self.group: ShardGroup = hosted.group
        self.bundles = Bundles(hosted.group)
        """Small writes of this turn; what goes to the group by itself goes behind those of its connection."""
        self.machine: ShardMachine = hosted.machine
        self.waiting = Waiting(hosted.machine.store, waited_keys_max)
        self.is_ticking = False
        """Its time advances at the moment."""
        self.is_current = False
        """All of its members know all commands."""
        self.reviewed: Configuration | None = None
        """Who waits here was looked at in this configuration."""
        self.serves = hosted.machine.serves
        """Says whether a slot is served by the group, as far as this replica has come."""

    @property
    def store(self) -> Store:
        """Return this node's copy of its data."""
        return self.machine.store

    def review(self) -> None:
        """Let go on who waits for a slot that is not served here any more."""
        holdings = self.machine.holdings
        if holdings.given or holdings.arrivals or holdings.configuration is not self.reviewed:
            self.reviewed = holdings.configuration
            self.waiting.wake_unless(lambda key: self.serves(slot_of(key)))


class Away:
    """A group of which this node holds no replica."""

    __slots__ = ("group", "id")

    def __init__(self, number: GroupId, group: RemoteGroup) -> None:
        self.id = number
        self.group = group


Place: TypeAlias = Here | Away


class _Refusing:
    """What is asked where nobody can be: every request gets one refusal."""

    def __init__(self, refusal: Callable[[], Exception]) -> None:
        """`refusal` is called for each request: what is raised remembers where."""
        self._refusal = refusal

    def submit(
        self,
        command: bytes,  # noqa: ARG002  whatever it is
        done: Callable[[bytes | Exception], None],
        session: int | None = None,  # noqa: ARG002
        sequence: int = 0,  # noqa: ARG002
    ) -> None:
        """Carry nothing out."""
        done(self._refusal())

    async def ask(
        self,
        query: bytes,  # noqa: ARG002
        consistency: Consistency = "linearizable",  # noqa: ARG002
        staleness_s_max: float = 0.0,  # noqa: ARG002
    ) -> bytes:
        """Answer nothing; raises the refusal."""
        raise self._refusal()

    async def open_session(self, session: int, born: int | None = None) -> int:  # noqa: ARG002
        """Open nothing; raises the refusal."""
        raise self._refusal()


_NOWHERE = Away(NOBODY, _Refusing(lambda: NotServed(_NOTHING_KNOWN)))
"""What is asked while no configuration is known here, as right after a start: it serves nothing yet."""


class Router:
    """One per server. Invariant: `_owners` is that of `_configuration`; places are of groups that are hosted."""

    def __init__(
        self,
        groups: Groups,
        redirects: Redirects,
        waited_keys_max: int,
        on_begun: Callable[[Here], object],
        on_gone: Callable[[Here], object],
    ) -> None:
        """Prepare; a place that is new is told to `on_begun`, one that is over to `on_gone`."""
        self.groups = groups
        self.redirects: Redirects = redirects
        self.is_strict = redirects == "always"
        self._waited_keys_max = waited_keys_max
        self._on_begun = on_begun
        self._on_gone = on_gone
        self._configuration: Configuration = EMPTY
        self._owners: list[GroupId] = [NOBODY] * SLOT_COUNT
        self._hints: dict[int, GroupId] = {}
        """Who served a slot lately that was not served where it was looked for first."""
        self._here: dict[GroupId, Here] = {}

    # Places.

    def place(self, group: GroupId) -> Place:
        """Return where a group is reached from here, or where it is said why it is not."""
        here = self.here(group)
        if here is not None:
            return here
        outside = self.groups.outside()
        if outside is None:
            return Away(group, self.groups.remote(group))
        return Away(group, _Refusing(lambda: outside))  # members take nothing of what is passed on by who is none

    def here(self, group: GroupId) -> Here | None:
        """Return a group of which this node holds a replica."""
        hosted = self.groups.hosted(group)
        known = self._here.get(group)
        if known is not None:
            if hosted is not None and hosted.machine is known.machine:
                return known
            del self._here[group]
            known.bundles.flush()  # the same replica may count again before its turn: nothing newer is to go before it
            self._on_gone(known)
        if hosted is None:
            return None
        place = self._here[group] = Here(group, hosted, self._waited_keys_max)
        self._on_begun(place)
        return place

    def all_here(self) -> list[Here]:
        """Return all groups of which this node holds a replica, in order."""
        group_ids = self.groups.group_ids
        found = [self.here(group) for group in group_ids]
        for gone in self._here.keys() - set(group_ids):
            self.here(gone)  # it is let go of once it is no longer hosted
        return [place for place in found if place is not None]

    def known_here(self) -> list[Here]:
        """Return the places that are in use, without a look at what has changed."""
        return list(self._here.values())

    # Slots.

    @property
    def configuration(self) -> Configuration:
        """Return the newest configuration that is known here."""
        newest = self.groups.configuration
        if newest is not self._configuration:
            self._follow(newest)
        return newest

    def _follow(self, newest: Configuration) -> None:
        self._configuration = newest
        self._owners = [NOBODY] * SLOT_COUNT
        self._hints.clear()
        for piece in newest.ranges:
            self._owners[piece.low : piece.high] = [piece.group] * (piece.high - piece.low)

    def owner(self, slot: int) -> GroupId:
        """Return who serves a slot in the newest configuration."""
        assert self.configuration is self._configuration, "just looked at"
        return self._owners[slot]

    def candidates(self, slot: int) -> list[GroupId]:
        """Return who may serve a slot, the likeliest first; nobody if no configuration gives it to anybody."""
        known = (self.groups.serving(slot), self.owner(slot), *self.groups.formers(slot))
        return [group for group in dict.fromkeys(known) if group != NOBODY]

    def find(self, slot: int) -> Place | None:
        """Return where a slot is most likely served: as `place_for`, and quick for a group that is led or held here."""
        groups = self.groups
        if groups.configuration is not self._configuration:
            self._follow(groups.configuration)
        owner = self._owners[slot]
        here = self._here.get(owner)
        if here is not None:
            hosted = groups.hosted(owner)
            if hosted is not None and hosted.machine is here.machine and here.serves(slot):
                return here
        return self.place_for(slot, 0)

    def place_for(self, slot: int, tries: int) -> Place | None:
        """Return the place of `group_for`; None if nobody serves the slot: `nobody` says why.

        As long as no configuration is known that is a place where nothing is served yet: who asks is held. But a node
        that is no member of the cluster will not hear of any, and of what it passes on nobody takes anything.
        """
        group = self.group_for(slot, tries)
        here = self.here(group)
        if here is not None:
            return here
        if self.groups.outside() is not None:
            return None
        if group != NOBODY:
            return Away(group, self.groups.remote(group))
        return None if self.configuration.number else _NOWHERE

    def nobody(self) -> bytes:
        """Return the reply to a command for which there is no place."""
        outside = self.groups.outside()
        return _CLUSTER_DOWN if outside is None else error(f"CLUSTERDOWN {outside}: the command did not take effect")

    def is_moved_on(self, place: Here) -> bool:
        """Say whether the group is no longer hosted here, so that nothing can be expected of this place any more."""
        return self.here(place.id) is not place

    def not_served(self, slot: int) -> bytes:
        """Return the reply to a command that was held until its time was over: it did not take effect."""
        if self.configuration.number:
            return error(f"TRYAGAIN slot {slot} is moving: the command did not take effect")
        return error(f"CLUSTERDOWN {_NOTHING_KNOWN}: the command did not take effect")

    def group_for(self, slot: int, tries: int) -> GroupId:
        """Return at which group a slot is looked for; `tries` of others were in vain. `NOBODY` if nobody serves it."""
        owner = self.owner(slot)
        here = self.here(owner)
        if here is not None and here.serves(slot):
            return owner
        if tries:
            self._hints.pop(slot, None)
            found = self.candidates(slot)
            return found[tries % len(found)] if found else NOBODY
        hint = self._hints.get(slot) if self._hints else None
        return hint if hint is not None and hint in self.groups.group_ids else self.groups.serving(slot)

    def note_served(self, slot: int, group: GroupId) -> None:
        """Remember who served a slot that was looked for elsewhere first, until somebody else does."""
        self._hints[slot] = group

    # Redirects.

    def is_for_finders(self, *, finds_slots: bool) -> bool:
        """Say whether a client is served as one that asks the right node for each key, and each for its number."""
        return self.redirects == "always" or (self.redirects == "auto" and finds_slots)

    def redirect(self, slot: int, group: GroupId, *, finds_slots: bool, may_be_old: bool = False) -> bytes | None:
        """Return the MOVED that a client gets instead of an answer, None if it is served by way of this node.

        `may_be_old`: it reads, and any copy will do. Nobody is sent to a group that had the slot before: it may give it
        at any moment, and would send the client back.
        """
        if not self.is_for_finders(finds_slots=finds_slots) or group == NOBODY or group != self.owner(slot):
            return None
        leader = self.groups.leader_of(group)
        if leader is None or leader == self.groups.node_id:
            return None
        if may_be_old and (here := self.here(group)) is not None and here.serves(slot):
            return None
        return self._moved(slot, leader)

    def _moved(self, slot: int, leader: NodeId) -> bytes | None:
        address = self.groups.address_of(leader)
        return None if address is None else error(f"MOVED {slot} {address.host}:{address.port}")
