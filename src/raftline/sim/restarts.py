"""Clean stops, as SIGTERM asks for them: of the leader alone, and of all machines in turn.

A machine that is stopped hands over what it leads and answers whoever waits; then its program ends and is started
again, perhaps a newer one. Nothing new is begun after `heal`.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Sequence

from raftline.core.ids import NodeId
from raftline.sim.acts import Act
from raftline.sim.cluster import Member, SimCluster

__all__ = ["Restarts"]


class Restarts:
    """Carries them out; at most one round of restarts is under way."""

    def __init__(
        self, cluster: SimCluster, counts: Counter[str], end_program: Callable[[Member, float], object]
    ) -> None:
        """`end_program` ends a program and starts it again after so many seconds."""
        self._cluster = cluster
        self._counts = counts
        self._end_program = end_program
        self._left: deque[NodeId] = deque()
        self._healed = False

    def heal(self) -> None:
        """Stop nobody any more."""
        self._healed = True
        self._left.clear()

    def stop(self, member: Member | None, down_s: float, what: str = "leaders stopped") -> str | None:
        """Stop a machine cleanly and start it again; return its name, None if there is nothing to stop."""
        if member is None or member.loop is None or member.node is None or not member.ready:
            return None
        loop = member.loop

        def end(stopped: "asyncio.Future[None]") -> None:
            if member.loop is loop and not self._healed and not stopped.cancelled() and stopped.exception() is None:
                self._counts[what] += 1
                self._end_program(member, down_s)

        self._cluster.note(member.name, "stop")
        loop.spawn(member.node.drain(), name="stop").add_done_callback(end)
        return member.name

    def restart_all(self, names: Sequence[NodeId], act: Act) -> str | None:
        """Stop and start these machines in turn, and wait in between; None if that is under way already."""
        if self._left:
            return None
        self._left.extend(names)
        self._next(act)
        return " ".join(names)

    def _next(self, act: Act) -> None:
        if not self._left:
            return
        member = self._cluster.members.get(self._left.popleft())
        self.stop(member, act.for_s, "machines restarted")
        if self._left:
            self._cluster.world.call_later(act.amount, self._next, act)
        else:
            self._counts["rolling restarts done"] += 1
