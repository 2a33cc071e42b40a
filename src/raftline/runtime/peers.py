"""Where everybody is: the transport's peers follow the membership in force.

A member is dialled from the moment its entry is appended; who was removed is talked to until it had time to learn of
it. A node that was just added, or that slept while others moved, takes its leader's word for where to answer.
"""

import structlog

from raftline.core.ids import NodeId
from raftline.core.membership import Membership
from raftline.core.messages import Directory
from raftline.core.state import RaftState
from raftline.errors import ConfigError
from raftline.runtime.ports import Transport
from raftline.transport.address import parse_address

__all__ = ["Peers"]

_log = structlog.get_logger("raftline.peers")


class Peers:
    """Keeps the transport's addresses those of one replica's group.

    Invariant: the transport was told the addresses of what `_seen` holds.
    """

    def __init__(self, state: RaftState, transport: Transport) -> None:
        self._state = state
        self._transport = transport
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
            self._transport.set_peers(dict(addresses))
            _log.info("peers", node=state.me, peers=addresses)

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
