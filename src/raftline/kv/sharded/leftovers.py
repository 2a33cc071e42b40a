"""What a node holds of groups that no configuration gives it: what becomes of that, and who is told.

A replica whose group went to entirely other nodes while its node was down knows none of them, and those whom it knows
hold nothing any more. Group 0 knows who is to hold the group; but a configuration is a wish, and the old members may be
needed until it is fulfilled. So nothing is given up on the word of group 0. Its nodes are asked, and a member answers
only once its group is without this replica by a committed entry (`raftline.runtime.strangers`).
"""

from collections.abc import Sequence

import structlog

from raftline.core.ids import GroupId, NodeId
from raftline.runtime.group import Group

__all__ = ["Leftovers"]

_log = structlog.get_logger("raftline.shards")

_ASK_S = 2.0
"""How often the other nodes are asked."""


class Leftovers:
    """One node's."""

    def __init__(self) -> None:
        self._asked_s: dict[GroupId, float] = {}
        self._told: set[GroupId] = set()
        """Groups that the log was told of."""

    def ask(self, group: GroupId, hosted: Group, nodes: Sequence[NodeId], now_s: float) -> None:
        """Have a replica that is not wanted here ask every node whether it is a member still, every now and then.

        All of them: those that hold the group may be neither those that it knows, nor those that are to hold it.
        """
        if now_s - self._asked_s.get(group, -_ASK_S) >= _ASK_S:
            self._asked_s[group] = now_s
            hosted.driver.ask_others(nodes)

    def forget(self, group: GroupId) -> None:
        """The replica is given up."""
        self._asked_s.pop(group, None)

    def note_unknown(self, group: GroupId) -> None:
        """Tell the log, once, of a group that it holds and this cluster never had: nobody says that it is not needed.

        Numbers of groups are given by group 0 and never again, so it is of a history that group 0 has not, or not any
        more.
        """
        if group not in self._told:
            self._told.add(group)
            _log.warning(
                "the log holds a group that this cluster never had: it is kept, and the log with it; if nothing in it "
                "is needed, take this node out of the cluster and add it again with an emptied directory",
                group=group,
            )
