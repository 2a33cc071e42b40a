"""What the simulated network counts: the traffic of each node, and how often each fault happened.

Numbers only; they are printed with a campaign's sums, so that a fault that never came is seen.
"""

import msgspec

__all__ = ["NetworkStats", "Traffic"]


class Traffic(msgspec.Struct):
    """What one node sent and received; bytes are those of whole frames."""

    messages_sent: int = 0
    bytes_sent: int = 0
    messages_received: int = 0
    bytes_received: int = 0


class NetworkStats(msgspec.Struct):
    """How often each thing happened; all but the last group count messages."""

    sent: int = 0
    delivered: int = 0
    lost: int = 0
    duplicated: int = 0
    reordered: int = 0
    delayed: int = 0
    lost_in_cut: int = 0
    held_in_cut: int = 0
    lost_in_reset: int = 0
    lost_of_a_kind: int = 0
    to_stranger: int = 0
    """Sent to somebody who is no peer, or by a node that is not on the network."""
    words_to_strangers: int = 0
    """Said to candidates that are no members."""
    to_old_address: int = 0
    """Sent to where somebody is no longer, or not yet."""
    to_absent: int = 0
    """Arrived at a node that was down."""
    queue_full: int = 0
    cuts_both_ways: int = 0
    cuts_one_way: int = 0
    partitions: int = 0
    bridges: int = 0
    flaps: int = 0
    resets: int = 0
    heals: int = 0
