"""What each node of a sharded cluster does by itself: it hosts the groups that the newest configuration gives it.

It follows group 0's state machine, which every node holds, so it asks nobody who serves what. Where it leads a group it
moves slots, brings the members to the configuration's nodes, and says when a group that left is empty. Everything it
decides is an entry of some group's log, so it may stop anywhere, and whoever leads next goes on.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any

import structlog

from raftline.core.ids import GroupId, NodeId
from raftline.errors import NotMember, OperatingError, RaftlineError, TooNew
from raftline.kv.resp.replies import error
from raftline.kv.sharded.directory import LocalDirectory
from raftline.kv.sharded.keeper_ports import KeeperNode
from raftline.kv.sharded.leftovers import Leftovers
from raftline.kv.sharded.machine import ShardMachine
from raftline.kv.sharded.membership import has_joined, is_out, next_change
from raftline.kv.sharded.meta import PLACES_LEAVING, MetaMachine
from raftline.kv.sharded.mover import Mover, Pace
from raftline.kv.sharded.ports import HostedGroup, RemoteGroup
from raftline.kv.sharded.reporting import report_of
from raftline.kv.sharded.requests import AddGroups, Began, Request, Retire, change_command
from raftline.kv.sharded.settings import KeeperSettings
from raftline.kv.shards_view import ShardReport
from raftline.runtime.config import GroupConfig
from raftline.runtime.group import Group
from raftline.shards.configuration import Configuration, Place
from raftline.shards.placement import places_without
from raftline.transport.address import Address, parse_address

__all__ = ["Keeper"]

_log = structlog.get_logger("raftline.shards")

_LOOK_S = 0.2
"""How often it is looked whether anything has changed."""
_BUSY_LOOK_S = 0.25
_IDLE_LOOK_S = 5.0
"""How often all groups are looked at although nothing has changed."""
_PAUSE_S = 0.5
"""What failed is tried again after this long."""
_LEVEL_S = 2.0
"""A copy for which no leader has vouched for so long may be behind."""
_UNLED_S = 2.0
"""A group without a leader for so long is not between two leaders."""


class Keeper:
    """One node's; implements `ports.Groups`.

    Invariant: at most one task for each thing to be done (host 3, move 3, ...), so that nothing is done twice at once.
    """

    def __init__(self, node: KeeperNode, node_id: NodeId, meta: MetaMachine, settings: KeeperSettings) -> None:
        self._node = node
        self._me = node_id
        self._meta = meta
        self._settings = settings
        self._pace = Pace(settings.bytes_per_second)
        self._directory = LocalDirectory(self, meta)
        self._hosted: dict[GroupId, HostedGroup] = {}
        """With those that wait to be added, or to catch up."""
        self._voting: dict[GroupId, HostedGroup] = {}
        """Those that can be asked: their replica here is no newcomer to the group."""
        self._groups: dict[GroupId, Group] = {}
        self._remotes: dict[GroupId, RemoteGroup] = {}
        self._addresses: dict[NodeId, str] = {}
        self._tasks: dict[tuple[str, GroupId], asyncio.Task[None]] = {}
        self._joined: set[GroupId] = set()
        """Groups whose replica here is no newcomer: what it knows of its own part in them counts."""
        self._dropped: set[GroupId] = set()
        """Groups that were hosted since the start: nobody begins one a second time."""
        self._led_at_s: dict[GroupId, float] = {}
        """When a hosted group was last seen to have a leader, or was hosted."""
        self._leftovers = Leftovers()
        self._down_since: dict[NodeId, float] = {}
        self._watchers: list[Callable[[], None]] = []
        self._seen: object = None
        self._is_current = False
        """Everything that was committed in group 0 before this start is applied here."""
        self.is_moving = False
        """Whether slots are on their way, as far as is known here."""

    # What commands and clients ask (`ports.Groups`).

    @property
    def node_id(self) -> NodeId:
        """Return who this node is."""
        return self._me

    @property
    def node_ids(self) -> Sequence[NodeId]:
        """Return all nodes: the members of group 0."""
        return tuple(self._addresses) or tuple(member.node_id for member in self._node.members())

    @property
    def meta(self) -> MetaMachine:
        """Return group 0's machine."""
        return self._meta

    @property
    def settings(self) -> KeeperSettings:
        """Return what the operator chose."""
        return self._settings

    @property
    def configuration(self) -> Configuration:
        """Return the newest configuration that is known here."""
        return self._meta.configuration

    @property
    def group_ids(self) -> Sequence[GroupId]:
        """Return all groups that may serve slots."""
        return tuple(dict.fromkeys((*self.configuration.group_ids, *self._meta.leaving)))

    def hosted(self, group: GroupId) -> HostedGroup | None:
        """Return a group of which this node holds a replica that votes: any other one is behind, or knows nothing."""
        return self._voting.get(group)

    def running(self, group: GroupId) -> Group | None:
        """Return such a group with all that the node knows of it."""
        return self._groups.get(group)

    def hosted_groups(self) -> Mapping[GroupId, HostedGroup]:
        """Return all groups of which a replica runs here, with those that catch up and have no vote yet."""
        return self._hosted

    def remote(self, group: GroupId) -> RemoteGroup:
        """Return a way to a group that is not hosted."""
        if group not in self._remotes:
            self._remotes[group] = self._node.remote(group, lambda: self._others_of(group))
        return self._remotes[group]

    def _others_of(self, group: GroupId) -> tuple[NodeId, ...]:
        """Return whom to ask for a group: those who are to host it, then the others, who may host it still."""
        wished = self._wished_of(group)
        others = [node for node in self.node_ids if node not in wished and node != self._me]
        return *wished, *sorted(others, key=lambda node: not self.is_up(node))

    def _wished_of(self, group: GroupId) -> tuple[NodeId, ...]:
        nodes = tuple(node for node in self._meta.nodes_of(group) if node != self._me)
        return tuple(sorted(nodes, key=lambda node: not self.is_up(node)))

    def serving(self, slot: int) -> GroupId:
        """Return who serves a slot now, as far as is known here; see `ports.Groups`."""
        owner = self.configuration.owner(slot)
        hosted = self._voting.get(owner)
        if hosted is not None and hosted.machine.holdings.serves(slot):
            return owner
        if hosted is None and not self.is_moving:
            return owner
        for group, former in self._voting.items():
            if former.machine.holdings.serves(slot):
                return group
        return owner

    def formers(self, slot: int) -> Sequence[GroupId]:
        """Return who had a slot before, the latest first, of those that still are there."""
        return self._meta.formers(slot)

    def leader_of(self, group: GroupId) -> NodeId | None:
        """Return who leads a group as far as is known here; of one that is not to be here, who should."""
        if group in self._voting or self._me in self._meta.nodes_of(group):  # newcomers do not point at each other
            hosted = self._groups.get(group)
            return None if hosted is None else hosted.driver.replica.core.leader
        return next((node for node in self._wished_of(group) if self.is_up(node)), None)

    def is_unled(self, group: GroupId) -> bool:
        """Say whether nobody leads a group that is hosted; see `ports.Groups`."""
        hosted = self._groups.get(group)
        if group not in self._voting or hosted is None or hosted.driver.replica.core.leader is not None:
            return False
        return asyncio.get_running_loop().time() - self._led_at_s[group] > _UNLED_S

    def is_level(self, group: GroupId) -> bool:
        """Say whether this node's replica of a group hears a leader, and had all that was committed a moment ago."""
        replica = self._groups[group].driver.replica
        core, now_s = replica.core, asyncio.get_running_loop().time()
        fresh_at_s, index = core.freshness(now_s)
        is_fresh = core.is_asleep or fresh_at_s > now_s - _LEVEL_S  # nobody falls asleep before all have everything
        return core.leader is not None and is_fresh and replica.applied >= max(index, core.state.commit)

    def address_of(self, node: NodeId) -> Address | None:
        """Return where a node serves clients and peers."""
        text = self._addresses.get(node)
        return None if text is None else parse_address(text)

    def is_up(self, node: NodeId) -> bool:
        """Say whether a node was heard of lately; this node is up."""
        return node == self._me or self._node.is_up(node)

    def outside(self) -> NotMember | None:
        """Return what to tell clients of a node that is no member of the cluster (any more, or yet)."""
        return self._node.outside()

    def watch(self, on_change: Callable[[], None]) -> None:
        """Call this after the configuration, who hosts what, or who leads has changed."""
        self._watchers.append(on_change)

    async def change(self, request: Request) -> bytes:
        """Have the controller make a change; return its RESP3 reply. Raises what a proposal raises."""
        is_newer = isinstance(request, Place) and request.group in self._meta.leaving
        try:
            return await self._node.propose(change_command(request), version=PLACES_LEAVING if is_newer else 1)
        except TooNew as reason:
            return error(f"ERR a group that is leaving cannot be placed yet: {reason}")

    def adding(self, count: int, nodes: Sequence[NodeId] = (), *, only_first: bool = False) -> AddGroups:
        """Return the request for so many groups, on members that are up; a report tells whether `nodes` are."""
        self._note_addresses()
        usual = [node for node in self._staying() if only_first or self.is_up(node)]
        where = {node: self._addresses[node] for node in nodes or usual}
        return AddGroups(count, where, self._settings.replicas, only_first=only_first)

    def _staying(self) -> Iterable[NodeId]:
        """Return the members that are not about to be removed."""
        return (member.node_id for member in self._node.members() if not member.leaving)

    async def replace_node(self, gone: NodeId) -> list[bytes]:
        """Give up a node: its replicas go where there is room. Returns the reply for each group that it held."""
        takers = [node for node in self._staying() if self.is_up(node)]
        return [await self.change(place) for place in places_without(self._meta.groups, gone, takers)]

    def report(self) -> ShardReport:
        """Return what people see of all this."""
        self._note_addresses()
        return report_of(self)

    # Working.

    async def run(self) -> None:
        """Go on until cancelled."""
        loop = asyncio.get_running_loop()
        full_at_s = 0.0
        before: object = None
        try:
            while True:
                now = self._signs()
                if now != before or loop.time() >= full_at_s:
                    before = now
                    self._look()
                    is_busy = self.is_moving or bool(self._tasks)
                    full_at_s = loop.time() + (_BUSY_LOOK_S if is_busy else _IDLE_LOOK_S)
                await asyncio.sleep(_LOOK_S)
        finally:
            tasks = list(self._tasks.values())
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _signs(self) -> object:
        """Return what shows, for little, that there is something to look at."""
        self._note_addresses()
        self._note_led()
        drivers = [group.driver for group in self._groups.values()]
        known = [(d.replica.core.leader, d.replica.core.state.membership, d.strangers.role()) for d in drivers]
        leaving = tuple(self._meta.leaving.items())
        members = tuple(self._addresses.items())
        return self.configuration.number, leaving, members, self._node.is_leader, len(self._tasks), known

    def _note_led(self) -> None:
        """Note which groups have a leader at the moment."""
        now_s = asyncio.get_running_loop().time()
        led = [group for group, hosted in self._groups.items() if hosted.driver.replica.core.leader is not None]
        self._led_at_s.update(dict.fromkeys(led, now_s))

    def _note_addresses(self) -> None:
        """Note who the nodes are, as this node's log has it, and where."""
        self._addresses = {member.node_id: member.address for member in self._node.members()}

    def _look(self) -> None:
        """Begin whatever is to be done and is not under way."""
        if not self._is_current:
            self._begin("catch up", 0, self._catch_up)
        wanted = self._wanted()
        for group in sorted((wanted | set(self._node.recovered_groups)) - self._hosted.keys()):
            self._look_for(group)
        for group in self._groups:
            self._note_vote(group)
        newest = self.configuration.number
        self.is_moving = False
        for group, hosted in self._groups.items():
            holdings = self._hosted[group].machine.holdings
            is_behind = holdings.configuration.number < newest or not holdings.is_settled
            self.is_moving = self.is_moving or is_behind
            if hosted.is_leader:
                self._lead(group, hosted, is_behind=is_behind)
            self._let_go(group, hosted, is_wanted=group in wanted)
        if self._node.is_leader:
            self._decide()
        else:
            self._down_since.clear()  # nobody is given up for what was seen in an earlier leadership
        self._tell()

    def _look_for(self, group: GroupId) -> None:
        """Host a group that is wanted here, or that the log holds; forget one that is not there any more."""
        if self._is_current and self._meta.is_retired(group):
            self._begin("host", group, self._drop)
        elif group in self._meta.founders and (self._is_current or self._node.has_log(group)):
            self._begin("host", group, self._host)
        elif self._is_current:
            self._leftovers.note_unknown(group)

    def _let_go(self, group: GroupId, hosted: Group, *, is_wanted: bool) -> None:
        """Give up a replica that nobody needs any more, or find out whether somebody does."""
        if self._is_to_go(group, hosted, is_wanted=is_wanted):
            self._begin("host", group, self._drop)
        elif self._is_current and not is_wanted:
            self._leftovers.ask(group, hosted, self._others_of(group), asyncio.get_running_loop().time())

    def _wanted(self) -> set[GroupId]:
        """Return the groups that this node is to host."""
        return {group for group, nodes in self._meta.groups if self._me in nodes}

    def _lead(self, group: GroupId, hosted: Group, *, is_behind: bool) -> None:
        """Do what the leader of a group does."""
        if group not in self._meta.begun and hosted.driver.replica.core.has_settled:
            self._begin("tell", group, self._tell_begun)
        if is_behind:
            self._begin("move", group, self._move)
        elif group in self._meta.leaving and not self.configuration.nodes_of(group):
            self._begin("retire", group, self._retire)
        change = next_change(hosted.driver.replica.core.state, self._meta.nodes_of(group), self._addresses)
        if change is not None:
            self._begin("members", group, lambda _group: hosted.change_membership(change))

    def _begin(self, what: str, group: GroupId, work: Callable[[GroupId], Coroutine[Any, Any, None]]) -> None:
        """Do something in a task of its own, unless that is under way."""
        key = (what, group)
        if key not in self._tasks:
            self._tasks[key] = asyncio.get_running_loop().create_task(self._carry_out(key, work(group)))

    async def _carry_out(self, key: tuple[str, GroupId], work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except (RaftlineError, OSError) as error:
            level = _log.debug if isinstance(error, OperatingError) else _log.warning
            level("not done yet: it is tried again", what=key[0], group=key[1], reason=str(error))
            await asyncio.sleep(_PAUSE_S)
        except Exception:  # noqa: BLE001  the other groups need their keeper, whatever is wrong with this one
            _log.exception("a fault in looking after a group: it is tried again", what=key[0], group=key[1])
            await asyncio.sleep(_PAUSE_S)
        finally:
            self._tasks.pop(key, None)

    async def _catch_up(self, _group: GroupId) -> None:
        """Wait until all that group 0 had decided before this start is known here.

        Only then may a group be begun: an older state might name founders of one whose members have changed since.
        """
        current: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def done(failure: Exception | None) -> None:
            if current.done():
                return
            if failure is None:
                current.set_result(None)
            else:
                current.set_exception(failure)

        self._node.submit_read(done)
        await current
        self._is_current = True

    async def _host(self, group: GroupId) -> None:
        """Host a group: go on with what the log holds of it, begin it with its other founders, or wait to be added.

        What the log holds counts from the first members on, so those have to be known even if there were others since.
        A term alone is no log: who has no more waits until it is known whether the group was placed, or has begun.
        """
        founders = self._meta.founders.get(group, {})
        holds_some = group in self._node.recovered_groups
        may_begin = group not in self._meta.placed and group not in self._dropped
        begins = may_begin and not holds_some
        goes_on = holds_some and (may_begin or self._node.has_log(group))
        members = dict(founders) if self._me in founders and (goes_on or begins) else {}
        prefers, has_begun = next(iter(members), None), group in self._meta.begun
        config = GroupConfig(group=group, members=members, prefers=prefers, has_begun=has_begun)
        machine = self.make_machine(group)
        hosted = await self._node.add_group(config, machine)
        self._groups[group] = hosted
        self._hosted[group] = HostedGroup(hosted, machine)
        self._led_at_s[group] = asyncio.get_running_loop().time()
        if members or goes_on:
            self._joined.add(group)
        self._note_vote(group)
        _log.info("hosts a group", group=group, begins=bool(members) and begins, recovered=holds_some)

    def _note_vote(self, group: GroupId) -> None:
        """Note whether a replica that runs here can be asked: it votes, and was not told that it was removed."""
        driver = self._groups[group].driver
        state = driver.replica.core.state
        if has_joined(state):
            self._joined.add(group)
        if group in self._joined and state.membership.is_voter(self._me) and driver.strangers.error() is None:
            self._voting[group] = self._hosted[group]
        else:
            self._voting.pop(group, None)

    def make_machine(self, group: GroupId) -> ShardMachine:
        """Return the state machine of a group that is to be hosted."""
        return ShardMachine(group)

    async def _drop(self, group: GroupId) -> None:
        self._dropped.add(group)
        self._groups.pop(group, None)
        self._hosted.pop(group, None)
        self._voting.pop(group, None)
        self._joined.discard(group)
        self._leftovers.forget(group)
        self._led_at_s.pop(group, None)
        move = self._tasks.get(("move", group))
        if move is not None:
            move.cancel()
        await self._node.remove_group(group)
        _log.info("hosts a group no longer", group=group)

    def _is_to_go(self, group: GroupId, hosted: Group, *, is_wanted: bool) -> bool:
        """Say whether nobody needs this replica any more.

        It is out of its group, by a committed entry or by the word of those who are in it; or the group is retired. One
        that is wanted again begins anew: what it holds may be from before it was removed. But a newcomer is not out by
        what was decided before it was added.
        """
        if not self._is_current:
            return False
        if self._meta.is_retired(group):
            return True
        is_gone = is_out(hosted.driver.replica.core.state, hosted.driver.strangers.role())
        return is_gone and (not is_wanted or group in self._joined)

    async def _move(self, group: GroupId) -> None:
        hosted = self._groups[group]
        await Mover(hosted, self._hosted[group].machine, self._directory, pace=self._pace).finish()

    async def _tell_begun(self, group: GroupId) -> None:
        await self.change(Began(group))
        await asyncio.sleep(_PAUSE_S)

    async def _retire(self, group: GroupId) -> None:
        await self.change(Retire(group))
        await asyncio.sleep(_PAUSE_S)

    # What group 0's leader decides.

    def _decide(self) -> None:
        if not self._is_current:
            return
        if self._meta.last_group == 0:
            self._begin("first groups", 0, self._add_first_groups)
        if self._settings.replace_dead_after_s > 0:
            self._note_dead()

    async def _add_first_groups(self, _group: GroupId) -> None:
        count = self._settings.first_groups or len(self._addresses)
        await self.change(self.adding(count, only_first=True))

    def _note_dead(self) -> None:
        """Give up a node that has been gone for too long."""
        now_s = asyncio.get_running_loop().time()
        for node in self.node_ids:
            if self.is_up(node):
                self._down_since.pop(node, None)
                continue
            since_s = self._down_since.setdefault(node, now_s)
            if now_s - since_s < self._settings.replace_dead_after_s:
                continue
            takers = [taker for taker in self._staying() if self.is_up(taker)]
            places = places_without(self._meta.groups, node, takers)
            if any(self._meta.can_place(place.group) for place in places):
                _log.warning("a node is given up: its replicas go elsewhere", node=node, gone_s=round(now_s - since_s))
                self._begin("replace", 0, lambda _group, node=node: self._replace(node))  # type: ignore[misc]

    async def _replace(self, node: NodeId) -> None:
        await self.replace_node(node)

    def _tell(self) -> None:
        """Tell those who watch if anything that they ask about has changed."""
        leaders = tuple((group, self.leader_of(group)) for group in self._groups)
        seen = (self.configuration.number, leaders, tuple(self._voting), tuple(self._addresses.items()))
        if seen != self._seen:
            self._seen = seen
            for on_change in self._watchers:
                on_change()
