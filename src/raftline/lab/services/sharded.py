"""A sharded store on virtual time: the controller and each group on servers of their own, and clerks who find the way.

Each server of a group runs the mover that ships, beside its node. While a test runs, and at its end, it is watched that
no slot is served by two groups, and that what was given away is gone.
"""

import asyncio
from collections.abc import Iterable
from functools import partial
from typing import Any

from raftline.core.ids import GroupId, NodeId
from raftline.errors import NotServed, ProposalError
from raftline.kv.key_walks import alive_keys
from raftline.kv.machine import encode_command
from raftline.kv.sharded.holdings import Holdings
from raftline.kv.sharded.machine import ShardMachine
from raftline.kv.sharded.mover import Mover
from raftline.kv.slots import slot_of
from raftline.lab.promises import BrokenPromise
from raftline.lab.services.clerk import ControllerClerk, parsed
from raftline.lab.services.deployment import Deployment, Unanswered
from raftline.linearizability.history import Operation
from raftline.shards.configuration import EMPTY, Change, Configuration, Join, Leave, Move
from raftline.shards.controller import LATEST, ControllerMachine, decode_configuration, encode_query
from raftline.shards.ranges import NOBODY
from raftline.sim.loop import SimLoop
from raftline.sim.trace import Trace

__all__ = ["ShardClerk", "ShardedDeployment"]

_SERVERS = 3
_PAUSE_S = 0.05
_WATCH_S = 0.05
_SETTLE_S_MAX = 60.0
_SESSION_BITS = 48


class _Directory:
    """Ways to the controller and to the groups, as a server of one of them has."""

    def __init__(self, sharded: "ShardedDeployment") -> None:
        self._sharded = sharded

    async def configuration(self, number: int) -> Configuration:
        """Ask the controller."""
        controller = self._sharded.controller
        server = controller.random.choice(controller.servers)
        return decode_configuration(await controller.ask(server, lambda node: node.read(encode_query(number))))

    async def ask(self, group: GroupId, query: bytes) -> bytes:
        """Ask any server of a group for what it knows."""
        deployment = self._sharded.groups[group]
        server = deployment.random.choice(deployment.servers)
        return await deployment.ask(server, lambda node: node.read(query, consistency="stale"))


class _OwnNode:
    """A server's own node as its mover sees it, until it crashes."""

    def __init__(self, deployment: Deployment, name: NodeId) -> None:
        self._deployment = deployment
        self._name = name
        self._node = deployment.cluster.members[name].node

    @property
    def is_there(self) -> bool:
        """Say whether this incarnation is still up."""
        return self._deployment.cluster.members[self._name].node is self._node

    @property
    def is_leader(self) -> bool:
        """Say whether it leads its group."""
        return self.is_there and self._node is not None and self._node.is_leader

    async def propose(self, command: bytes) -> bytes:
        """Replicate a command."""
        if not self.is_there:
            raise Unanswered(f"{self._name} is down")
        return await self._deployment.ask(self._name, lambda node: node.propose(command))


class ShardedDeployment:
    """The controller, and `groups` groups of three servers each, which serve nothing before they join."""

    def __init__(
        self,
        world: SimLoop,
        groups: int,
        *,
        unreliable: bool = False,
        log_bytes_max: int | None = None,
        trace: Trace | None = None,
    ) -> None:
        self.world = world
        make = partial(Deployment, world, _SERVERS, unreliable=unreliable, log_bytes_max=log_bytes_max)
        self.controller: Deployment = make(ControllerMachine, prefix="c", trace=trace)
        self.groups: dict[GroupId, Deployment] = {
            group: make(partial(ShardMachine, group), prefix=f"g{group}n") for group in range(1, groups + 1)
        }
        self.operations: list[Operation] = []
        self.keys: set[str] = set()
        """Every key that a clerk used."""
        self.random = world.stream("sharded test")
        self.admin = ControllerClerk(self.controller, "admin")
        self._tasks: dict[NodeId, asyncio.Task[None]] = {}
        self._newest = {group: (0, Holdings(group)) for group in self.groups}
        """By group: how far a server had applied its log, and what it held then; a dead one's does not change."""
        self._watching: asyncio.Task[None] | None = None

    @property
    def deployments(self) -> list[Deployment]:
        """Return the controller's and every group's."""
        return [self.controller, *self.groups.values()]

    async def start(self) -> None:
        """Boot everything."""
        await asyncio.gather(*(deployment.start() for deployment in self.deployments))
        for deployment in self.groups.values():
            self._move(deployment, deployment.servers)
        self._watching = asyncio.create_task(self._watch())

    def stop(self) -> None:
        """Let movers end, and raise what the watch found."""
        for task in self._tasks.values():
            task.cancel()
        if self._watching is not None:
            if self._watching.done():
                self._watching.result()
            self._watching.cancel()

    def _move(self, deployment: Deployment, names: Iterable[NodeId]) -> None:
        """Run the mover beside nodes that were just started."""
        for name in names:
            machine = deployment.cluster.members[name].machine
            assert isinstance(machine, ShardMachine), "a group's"
            mover = Mover(_OwnNode(deployment, name), machine, _Directory(self))
            self._tasks[name] = asyncio.create_task(mover.run())

    def crash(self, group: GroupId, *names: NodeId) -> None:
        """Kill servers of a group, all unless named, and their movers with them."""
        deployment = self.groups[group]
        for name in names or deployment.servers:
            self._tasks[name].cancel()
        deployment.crash(*names)

    async def restart(self, group: GroupId, *names: NodeId) -> None:
        """Boot servers of a group, all unless named."""
        deployment = self.groups[group]
        await deployment.restart(*names)
        self._move(deployment, names or deployment.servers)

    async def change(self, change: Change) -> int:
        """Have the controller make a change; return the configuration's number."""
        decision = await self.admin.change(change)
        if decision.refusal:
            raise BrokenPromise("slots", f"{change} was refused: {decision.refusal}")
        return decision.number

    async def join(self, *groups: GroupId) -> int:
        """Let groups join."""
        return await self.change(Join({group: self.groups[group].servers for group in groups}))

    async def leave(self, *groups: GroupId) -> int:
        """Let groups leave."""
        return await self.change(Leave(groups))

    async def move(self, key: str, group: GroupId) -> int:
        """Move a key's slot to a group."""
        slot = slot_of(key.encode())
        return await self.change(Move(slot, slot + 1, group))

    def holdings(self, group: GroupId) -> Holdings:
        """Return what a group holds, as the most advanced of its servers has, or had before it crashed."""
        for member in self.groups[group].cluster.ready():
            applied = member.node.status().applied_index if member.node is not None else 0
            if applied >= self._newest[group][0]:
                assert isinstance(member.machine, ShardMachine), "a group's"
                self._newest[group] = applied, member.machine.holdings
        return self._newest[group][1]

    async def wait_settled(self, number: int) -> None:
        """Wait until every group has taken configuration `number` and finished with it."""
        until = self.world.now + _SETTLE_S_MAX
        waiting = list(self.groups)
        while waiting := [group for group in waiting if not self._is_settled(group, number)]:
            if self.world.now > until:
                states = {group: self.holdings(group).configuration.number for group in waiting}
                raise BrokenPromise("settles", f"groups {states} have not finished configuration {number}")
            await asyncio.sleep(_PAUSE_S)

    def _is_settled(self, group: GroupId, number: int) -> bool:
        holdings = self.holdings(group)
        return holdings.configuration.number >= number and holdings.is_settled

    def check_one_owner(self) -> None:
        """No key's slot is served by two groups, as their most advanced servers have it (G15)."""
        held = {group: self.holdings(group) for group in self.groups}
        for key in sorted(self.keys):
            slot = slot_of(key.encode())
            owners = [group for group, holdings in held.items() if holdings.serves(slot)]
            if len(owners) > 1:
                raise BrokenPromise("slots", f"slot {slot} of key {key} is served by groups {owners} at once")

    async def check_given_is_gone(self) -> None:
        """Every server holds keys of slots that its group serves, and no others."""
        await asyncio.gather(*(deployment.wait_level() for deployment in self.groups.values()))
        for deployment in self.groups.values():
            for machine in deployment.machines():
                assert isinstance(machine, ShardMachine), "a group's"
                for key in alive_keys(machine.store, 0):
                    if not machine.holdings.serves(slot_of(key)):
                        group = machine.holdings.group
                        raise BrokenPromise("given is gone", f"group {group} still holds {key!r}, which it gave away")

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(_WATCH_S)
            self.check_one_owner()


class ShardClerk:
    """A client of the sharded store: it knows a configuration, maybe an old one, and opens its session everywhere.

    A command keeps its number whichever group it is sent to, so it counts once even if its slot moves meanwhile (G16).
    """

    def __init__(self, sharded: ShardedDeployment, name: str) -> None:
        self.name = name
        self._sharded = sharded
        self._known = EMPTY
        self._session = 1 + sharded.world.stream(f"session of {name}").getrandbits(_SESSION_BITS)
        self._opened: set[GroupId] = set()
        self._sequence = 0
        self._at: dict[GroupId, int] = {}

    async def put(self, key: str, value: str) -> None:
        """Set a key."""
        await self._write("set", key, value, b"SET")

    async def append(self, key: str, text: str) -> None:
        """Add to a key's value."""
        await self._write("append", key, text, b"APPEND")

    async def get(self, key: str) -> str:
        """Return a key's value, empty if it has none."""
        called_s = self._sharded.world.now
        query = encode_command([b"GET", key.encode()])
        answer = parsed(await self._ask(key, lambda node: node.read(query)))
        value = answer.decode() if isinstance(answer, bytes) else None
        self._note(Operation(self.name, "get", None, value, called_s, self._sharded.world.now, key))
        return value or ""

    async def _write(self, kind: str, key: str, text: str, name: bytes) -> None:
        called_s = self._sharded.world.now
        command = encode_command([name, key.encode(), text.encode()])
        self._sequence += 1
        sequence, session = self._sequence, self._session
        try:
            answer = parsed(
                await self._ask(key, lambda node: node.propose(command, session=session, sequence=sequence))
            )
        except BaseException:
            self._note(Operation(self.name, kind, text, None, called_s, None, key))
            raise
        output = answer.decode() if isinstance(answer, bytes) else answer
        self._note(Operation(self.name, kind, text, output, called_s, self._sharded.world.now, key))

    async def _ask(self, key: str, call: Any) -> Any:
        """Ask the group that serves a key, wherever that is by then, until it answers."""
        self._sharded.keys.add(key)
        slot = slot_of(key.encode())
        while True:
            group = self._known.owner(slot)
            if group != NOBODY:
                try:
                    if group not in self._opened:
                        await self._at_group(group, lambda node: node.open_session(self._session))
                        self._opened.add(group)
                    return await self._at_group(group, call)
                except NotServed:
                    pass
                except (Unanswered, ProposalError):
                    self._at[group] = self._at.get(group, 0) + 1
            await asyncio.sleep(_PAUSE_S)
            try:
                self._known = await _Directory(self._sharded).configuration(LATEST)
            except (Unanswered, ProposalError):
                continue

    async def _at_group(self, group: GroupId, call: Any) -> Any:
        deployment = self._sharded.groups[group]
        server = deployment.servers[self._at.get(group, 0) % len(deployment.servers)]
        return await deployment.ask(server, call)

    def _note(self, operation: Operation) -> None:
        self._sharded.operations.append(operation)
