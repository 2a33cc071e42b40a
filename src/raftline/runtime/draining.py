"""A node on its way out: when it has given its leadership away, and everybody an answer.

A clean stop costs no client a write: the leader hands over (thesis 3.10), what waits here goes on to its successor, and
what is in the log already gets its real result. It refuses to wait for what cannot come.
"""

import asyncio
from collections.abc import Callable

from raftline.core.config import CoreConfig
from raftline.core.events import Event, TransferRequested
from raftline.core.raft import Raft
from raftline.core.ready import Answer, Verdict

__all__ = ["Drain"]


class Drain:
    """At most one wait for the end.

    Invariant: `_over` is set from `begin` to `end`.
    """

    __slots__ = ("_alone_since", "_config", "_core", "_led", "_must_lead", "_over", "_quiet_since", "_request_id")

    def __init__(self, core: Raft, config: CoreConfig) -> None:
        self._core = core
        self._config = config
        self._over: asyncio.Future[None] | None = None
        self._request_id = 0
        self._must_lead = False
        self._led = False
        self._alone_since: float | None = None
        self._quiet_since: float | None = None

    @property
    def is_under_way(self) -> bool:
        """Say whether somebody waits."""
        return self._over is not None

    def begin(
        self, request_id: int, loop: asyncio.AbstractEventLoop, post: Callable[[Event], None]
    ) -> asyncio.Future[None]:
        """Ask for another leader, by a request of that number, and start to wait."""
        assert self._over is None, "a node is drained once at a time"
        self._over = loop.create_future()
        self._request_id = request_id
        self._led = self._core.is_leader
        self._must_lead = self._core.state.membership.voters == (self._core.state.me,)
        self._alone_since = self._quiet_since = None
        if self._core.takes_proposals:
            post(TransferRequested(request_id))
        return self._over

    def on_answer(self, answer: Answer) -> None:
        """A transfer that was refused leaves this node leading to its end."""
        if answer.request_id == self._request_id and answer.verdict is Verdict.REFUSED:
            self._must_lead = True

    def is_over(self, now: float, *, is_idle: bool) -> bool:
        """Say whether nobody waits and somebody else leads, or nothing more can come.

        A former leader lingers for a heartbeat: what others sent before they heard of the new one is still under way.
        """
        core = self._core
        if core.leader is not None:
            self._alone_since = None
        elif self._alone_since is None:
            self._alone_since = now
        elif now >= self._alone_since + self._config.election_timeout_s[1]:
            return True
        if not is_idle or (core.is_leader and not self._must_lead):
            self._quiet_since = None
            return False
        if self._quiet_since is None:
            self._quiet_since = now
        return not self._led or self._must_lead or now >= self._quiet_since + self._config.heartbeat_interval_s

    def end(self) -> None:
        """Let whoever waits go on."""
        over, self._over = self._over, None
        if over is not None and not over.done():
            over.set_result(None)
