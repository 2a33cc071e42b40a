"""Where everybody is: the transport's peers follow the memberships in force, those of all groups together.

A member is dialled from the moment its entry is appended; who was removed is talked to until it had time to learn of
it. A node that was just added, or that slept while others moved, takes its leader's word for where to answer.
"""

import structlog

from raftline.core.ids import GroupId, NodeId
from raftline.core.membership import Membership
from raftline.core.messages import Directory
from raftline.core.state import RaftState
from raftline.errors import ConfigError
from raftline.runtime.ports import Transport
from raftline.transport.address import parse_address

__all__ = ["AddressBook", "Peers"]

_log = structlog.get_logger("raftline.peers")
_FIRST_GROUP: GroupId = 0


class AddressBook:
    """Whom the groups of a node have to reach, together; where they differ, the first group's word counts.

    Invariant: the transport knows everybody whom a group needs, and nobody else.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._needed: dict[GroupId, dict[NodeId, str]] = {}
        self._told: dict[NodeId, str] | None = None

    def set(self, group: GroupId, addresses: dict[NodeId, str]) -> None:
        """Note whom a group needs from now on, in place of what it needed before."""
        self._needed.pop(group, None)  # so that of two others the one that spoke last counts
        self._needed[group] = addresses
        self._tell()

    def drop(self, group: GroupId) -> None:
        """Forget a group that is not hosted any more."""
        if self._needed.pop(group, None):
            self._tell()

    def _tell(self) -> None:
        everybody: dict[NodeId, str] = {}
        for needed in self._needed.values():
            everybody |= needed
        everybody |= self._needed.get(_FIRST_GROUP, {})
        if everybody != self._told:
            self._told = everybody
            self._transport.set_peers(dict(everybody))


class Peers:
    """Tells the node whom one replica's group needs.

    Invariant: the book was told the addresses of what `_seen` holds.
    """

    __slots__ = ("_addresses", "_book", "_group", "_leader", "_seen", "_state")

    def __init__(self, group: GroupId, state: RaftState, book: AddressBook) -> None:
        self._group = group
        self._state = state
        self._book = book
        self._seen: tuple[Membership, Directory | None, NodeId | None, int, bool] | None = None
        self._addresses: dict[NodeId, str] = {}
        self._leader: NodeId | None = None

    def follow(self) -> None:
        """Tell the transport if anything changed since the last call; cheap if not."""
        state = self._state
        is_committed = state.configuration.index <= state.commit
        seen = self._seen
        if (
            seen is not None
            and seen[0] is state.membership
            and seen[1] is state.directory
            and seen[2] == state.leader
            and seen[3] == len(state.departing)
            and seen[4] is is_committed
        ):
            return
        self._seen = (state.membership, state.directory, state.leader, len(state.departing), is_committed)
        addresses = self._current()
        if addresses != self._addresses or seen is None:
            self._addresses = addresses
            self._book.set(self._group, addresses)
            _log.info("peers", node=state.me, group=self._group, peers=addresses)

    def _current(self) -> dict[NodeId, str]:
        """Return everybody to be reached: members, those of a membership not replaced for good, and the last leader.

        A leader that removed itself leads on until that is committed, and needs the answers; then it has to hear who
        took over.
        """
        state = self._state
        known = self._addresses
        self._leader = state.leader or self._leader
        staying = [*state.departing, *([self._leader] if self._leader is not None else [])]
        addresses = {node: known[node] for node in staying if node in known}
        addresses |= {node: departure.address for node, departure in state.departing.items() if departure.address}
        addresses |= dict(state.configuration.at(state.commit).addresses)
        addresses |= dict(state.membership.addresses)
        if state.directory is not None and state.directory.index > state.configuration.index:
            addresses |= dict(state.directory.addresses)
        addresses.pop(state.me, None)
        return {node: address for node, address in addresses.items() if _is_usable(node, address)}


def _is_usable(node: NodeId, address: str) -> bool:
    """Say whether an address can be dialled; one that cannot is in the log already and must not stop this node."""
    try:
        parse_address(address)
    except ConfigError as error:
        _log.error("an address of the membership cannot be used: move the member", member=node, error=str(error))
        return False
    return True
