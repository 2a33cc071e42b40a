"""One direction between two simulated nodes, and what is on its way there; who carries it is `sim/network`."""

import math
from typing import NamedTuple

from raftline.core.ids import GroupId, NodeId
from raftline.core.messages import Message
from raftline.sim.faults import LinkFaults

__all__ = ["Link", "Parcel"]


class Parcel(NamedTuple):
    """One message on its way."""

    group: GroupId
    message: Message
    frame: bytearray | None
    """The encoded message; None if the network passes messages as they are."""
    size_bytes: int
    order: int
    """Its number in the run; what a cut held sets out in this order."""


class Link:
    """One direction between two nodes; `epoch` changes when everything in flight is lost."""

    __slots__ = ("cut", "epoch", "faults", "held", "in_flight", "in_flight_bytes", "last_arrival", "source", "target")

    def __init__(self, source: NodeId, target: NodeId, faults: LinkFaults) -> None:
        self.source = source
        self.target = target
        self.faults = faults
        self.cut: bool | None = None
        """None: open; False: cut, messages are lost; True: cut, messages wait until it is mended."""
        self.held: list[Parcel] = []
        self.last_arrival = -math.inf
        self.epoch = 0
        self.in_flight = 0
        self.in_flight_bytes = 0
