"""The state machine of group 0 in a sharded server: the controller of the shards, and what belongs to no slot.

That is users, channels and settings, which a `KvMachine` keeps; keys of clients it refuses. Changes of configuration
stand in its log as `RAFTLINE.SHARD.CHANGE`. Ids of groups are given here and never again, so that no old log of one can
come back to life; a group that left is remembered until it is empty, because somebody has to go on hosting it.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

import msgspec

from raftline.core.changing import ASK_AGAIN
from raftline.core.ids import GroupId, NodeId
from raftline.errors import ChangeRefused, ConfigError, StorageError
from raftline.kv.commands.lookup import EXEC_NAME, MESSAGE_NAMES, TICK_NAME, find_logged
from raftline.kv.commands.transactions import decode_watched
from raftline.kv.machine import KvMachine
from raftline.kv.resp.replies import error, integer
from raftline.kv.sharded.requests import (
    CHANGE_NAME,
    KNOWS_MEMBERS,
    AddGroups,
    Began,
    Request,
    Retire,
    as_change,
    decode_request,
)
from raftline.kv.shards_view import why_not_removed
from raftline.shards.configuration import Change, Configuration, Join, Leave, Place, changed, placed_leaving
from raftline.shards.controller import ControllerMachine

__all__ = ["CARRIES_MESSAGES", "COUNTS_LEAVING", "PLACES_LEAVING", "MetaMachine"]

_FORMAT = 1
PLACES_LEAVING = 4
"""The version from which on groups that are leaving are placed; before, there is no such group for a `Place`."""
COUNTS_LEAVING = 5
"""That from which on new groups go where few replicas are, those of groups that are leaving counted."""
CARRIES_MESSAGES = 6
"""That from which on SPUBLISH is no command with a key, and messages may be sent by a transaction."""
_NAME_WITHIN = 40
"""So far from the start of a command its name ends, if it is that of a change."""
_LATER = "ERR no change that this version knows: upgrade every node first"
_NO_KEYS = error("ERR the controller of a sharded cluster keeps no keys")


class _Header(msgspec.Struct, array_like=True):
    """The first chunk of a snapshot; as many follow with the history as it says, then those of the store."""

    format: int
    last_group: GroupId
    founders: dict[GroupId, dict[NodeId, str]]
    begun: list[GroupId]
    placed: list[GroupId]
    leaving: dict[GroupId, tuple[NodeId, ...]]
    history_chunks: int
    members: tuple[NodeId, ...] | None = None


_encode = msgspec.msgpack.Encoder().encode
_decode_args = msgspec.msgpack.Decoder(list[bytes]).decode
_decode_header = msgspec.msgpack.Decoder(_Header).decode


class MetaMachine(KvMachine):
    """Group 0's machine.

    Invariants: `last_group` is the highest id that any group ever had; `leaving` are groups that are in no newer
    configuration and may still hold something; every group that is there or leaving has its founders; once the log has
    said who the members are, behind version `KNOWS_MEMBERS`, nobody else gets a group, nor is removed with one.
    """

    takes_bundles = False
    """Each command is looked at for itself: has it keys?"""

    def __init__(self) -> None:
        super().__init__()
        self.controller = ControllerMachine()
        self.last_group: GroupId = 0
        self.founders: dict[GroupId, dict[NodeId, str]] = {}
        """The first members of a group and their first addresses, from which its log begins."""
        self.begun: set[GroupId] = set()
        """Groups that have had a leader which committed something: a majority of the founders has a log."""
        self.placed: set[GroupId] = set()
        """Groups that were placed anew: who hosts one now and holds nothing of it waits to be added, founder or not."""
        self.leaving: dict[GroupId, tuple[NodeId, ...]] = {}
        self.members: tuple[NodeId, ...] | None = None
        """Those of the cluster at this point of the log; None if no change has told since everybody looks at it."""
        self._nodes_in: Configuration | None = None
        self._nodes: dict[GroupId, tuple[NodeId, ...]] = {}
        """Of each group in that configuration."""
        self._restored: _Header | None = None
        self._chunks_left = 0
        """How many of those of the history are still to come."""

    @property
    def configuration(self) -> Configuration:
        """Return the newest configuration."""
        return self.controller.kept.newest

    def configuration_at(self, number: int) -> Configuration:
        """Return configuration `number`, the newest if there is none of that number yet."""
        return self.controller.kept.at(number)

    def formers(self, slot: int) -> Sequence[GroupId]:
        """Return who had a slot before its owner, the latest first, of the groups that are there or leaving."""
        return [group for group in self.controller.kept.formers(slot) if group in self.founders]

    def nodes_of(self, group: GroupId) -> tuple[NodeId, ...]:
        """Return the nodes that are to host a group, leaving ones included; none for one that is not there."""
        newest = self.configuration
        if newest is not self._nodes_in:
            self._nodes_in, self._nodes = newest, dict(newest.groups)
        return self._nodes.get(group) or self.leaving.get(group, ())

    @property
    def groups(self) -> tuple[tuple[GroupId, tuple[NodeId, ...]], ...]:
        """Return every group that is to be hosted, with its nodes: last come those that are leaving."""
        return (*self.configuration.groups, *sorted(self.leaving.items()))

    def can_place(self, group: GroupId) -> bool:
        """Say whether a group's place may change: once it has begun, and every member knows how if it is leaving."""
        return group in self.begun and (group not in self.leaving or self._places_leaving)

    @property
    def _places_leaving(self) -> bool:
        return self.store.version >= PLACES_LEAVING

    def is_retired(self, group: GroupId) -> bool:
        """Say whether a group was there once and is not any more."""
        return 0 < group <= self.last_group and not self.nodes_of(group)

    def on_membership(self, members: Sequence[NodeId]) -> None:
        """Take note of who can hold groups from here on."""
        if self.store.version >= KNOWS_MEMBERS:
            self.members = tuple(members)

    def objection_to_removal(self, node: NodeId, pending: Iterable[bytes]) -> str | None:
        """Say so if a member is to hold replicas: once it is none, nobody could have them elsewhere."""
        for command in pending:
            request = _request_in(command)
            if request is None:
                continue
            if node in _wanted_by(request):
                return f"{node} is about to get replicas of a group, a change of the shards is under way: {ASK_AGAIN}"
            if isinstance(request, Place) and node in self.nodes_of(request.group):
                return f"{node} is about to be without group {request.group}: {ASK_AGAIN}"
        return why_not_removed(node, self.groups)

    def apply(self, command: bytes, index: int, time_ms: int) -> bytes:
        """Make a change, or carry out a command that needs no keys, and return its RESP3 reply."""
        try:
            args = _decode_args(command)
            name = args[0]
        except (msgspec.MsgspecError, IndexError):
            return super().apply(command, index, time_ms)
        if name == CHANGE_NAME:
            return self._change(args, index, time_ms)
        if name != TICK_NAME:
            row = find_logged(args)
            if row is not None and (row.execute is not None or row.keys_in(args)) and not self._is_of_messages(args):
                return _NO_KEYS
        return super().apply(command, index, time_ms)

    def _is_of_messages(self, args: Sequence[bytes]) -> bool:
        """Say whether a command sends messages and nothing else, alone or as a transaction: channels are no keys."""
        if self.store.version < CARRIES_MESSAGES:
            return False
        if args[0] != EXEC_NAME:
            return args[0] in MESSAGE_NAMES
        try:
            names = {_decode_args(command)[0] for command in args[2:]}
            return bool(names) and names <= MESSAGE_NAMES and not decode_watched(args[1])
        except (msgspec.MsgspecError, IndexError):
            return False

    def _change(self, args: Sequence[bytes], index: int, time_ms: int) -> bytes:
        self.store.begin(index, time_ms)
        before = self.configuration
        try:
            request = decode_request(args[1])
            if isinstance(request, Retire):
                if self.leaving.pop(request.group, None) is not None:
                    self.founders.pop(request.group, None)
                    self.placed.discard(request.group)
                    self.begun.discard(request.group)
                return integer(before.number)
            if isinstance(request, Began):
                self.begun |= {request.group} & self.founders.keys()
                return integer(before.number)
            self._check_members(request)
            if isinstance(request, Place) and request.group in self.leaving and self._places_leaving:
                self._place_leaving(request)
                return integer(before.number)
            leaving = self.leaving.values() if self.store.version >= COUNTS_LEAVING else ()
            change = as_change(request, before, self.last_group, leaving)
            after = changed(before, change)
            self._check_begun(change)
        except (msgspec.MsgspecError, IndexError):
            return error(_LATER)
        except ChangeRefused as refused:
            return error(f"ERR {refused}")
        self.controller.enter(after)
        self._note(change, before, request.nodes if isinstance(request, AddGroups) else {})
        return integer(self.configuration.number)

    def _place_leaving(self, place: Place) -> None:
        """Have a group elsewhere that is in no configuration any more; raises `ChangeRefused`."""
        leaving = placed_leaving(self.leaving, place)
        self._check_begun(place)
        self.leaving = leaving
        self.placed.add(place.group)

    def _check_members(self, request: Request) -> None:
        """Refuse groups on nodes that are no members (any more), and would hear of nothing.

        Who is to hold the group already may stay: a version that let it go too early may have left it there.
        """
        if self.members is None:
            return
        there = self.nodes_of(request.group) if isinstance(request, Place) else ()
        gone = [node for node in _wanted_by(request) if node not in self.members and node not in there]
        if gone:
            verb = "is no member" if len(gone) == 1 else "are no members"
            raise ChangeRefused(
                f"{', '.join(gone)} {verb} of the cluster, or about to be removed: name others; {ASK_AGAIN}, if you "
                f"named none"
            )

    def _check_begun(self, change: Change) -> None:
        """Refuse to place a group that has no leader yet: founders that have not begun it would wait to be let in."""
        if isinstance(change, Place) and change.group not in self.begun:
            raise ChangeRefused(f"group {change.group} has not begun yet: place it in a moment")

    def _note(self, change: Change, before: Configuration, addresses: dict[NodeId, str]) -> None:
        """Keep in mind who begins, and who is about to go."""
        if isinstance(change, Join):
            self.last_group = max(self.last_group, *change.groups)
            for group, nodes in change.groups.items():
                self.founders[group] = {node: addresses[node] for node in nodes}
        elif isinstance(change, Leave):
            for group in change.groups:
                self.leaving[group] = before.nodes_of(group)
        elif isinstance(change, Place):
            self.placed.add(change.group)

    # Snapshots.

    def snapshot(self) -> Iterator[bytes]:
        """Return the state as of this call."""
        history = self.controller.snapshot()
        header = _Header(
            _FORMAT,
            self.last_group,
            dict(self.founders),
            sorted(self.begun),
            sorted(self.placed),
            dict(self.leaving),
            len(self.controller.kept.cuts()) - 1,
            self.members,
        )
        return chain([_encode(header)], history, super().snapshot())

    def restore_begin(self) -> None:
        """Begin to load what takes the place of everything here."""
        super().restore_begin()
        self.controller.restore_begin()
        self._restored, self._chunks_left = None, 0

    def restore_chunk(self, chunk: bytes) -> None:
        """Take the next chunk in; raises `StorageError` if it cannot be read."""
        try:
            if self._restored is None:
                self._restored = _decode_header(chunk)
                self._chunks_left = self._restored.history_chunks
                if self._restored.format != _FORMAT:
                    raise ConfigError(
                        f"the controller's snapshot has format {self._restored.format}: use a newer raftline"
                    )
            elif self._chunks_left:
                self.controller.restore_chunk(chunk)
                self._chunks_left -= 1
            else:
                super().restore_chunk(chunk)
        except msgspec.MsgspecError as wrong:
            raise StorageError(f"a chunk of the controller's snapshot cannot be read: {wrong}") from wrong

    def restore_end(self) -> None:
        """Replace everything in one step; raises `StorageError` if something is missing."""
        restored = self._restored
        if restored is None or self._chunks_left:
            raise StorageError("the controller's snapshot is not complete")
        super().restore_end()
        self.controller.restore_end()
        self.last_group, self.founders, self.leaving = restored.last_group, restored.founders, restored.leaving
        self.begun, self.placed = set(restored.begun), set(restored.placed)
        self.members = restored.members
        self._restored = None


def _request_in(command: bytes) -> Request | None:
    """Return the request that a command is, if it is one that can be read."""
    if CHANGE_NAME not in command[:_NAME_WITHIN]:
        return None
    try:
        args = _decode_args(command)
        return decode_request(args[1]) if args[0] == CHANGE_NAME else None
    except (msgspec.MsgspecError, IndexError, ValueError, RecursionError):
        return None


def _wanted_by(request: Request) -> Iterable[NodeId]:
    """Return the nodes that are to hold a group by a request."""
    return request.nodes if isinstance(request, AddGroups | Place) else ()
