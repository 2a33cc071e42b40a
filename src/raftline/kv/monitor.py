"""What the monitoring port of a server tells: /metrics for Prometheus, /healthz and /readyz for whoever supervises it.

It is there before the node has recovered, so that a long recovery is seen as such and not as a dead process.
"""

from collections.abc import Callable
from http import HTTPStatus

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, ProcessCollector, generate_latest

from raftline.kv.http_door import HttpDoor, HttpReply, text_reply
from raftline.kv.metrics import NodeCollector
from raftline.kv.service import Service

__all__ = ["Monitor"]


class Monitor:
    """The pages, and the door that serves them."""

    def __init__(
        self,
        host: str,
        port: int,
        service: Callable[[], Service | None],
        failure: Callable[[], BaseException | None],
    ) -> None:
        """`service` gives None until the server has started, `failure` why the node stopped by itself."""
        self._service = service
        self._failure = failure
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(NodeCollector(service))
        ProcessCollector(registry=self._registry)
        self.door = HttpDoor(host, port, {"/metrics": self.metrics, "/healthz": self.healthz, "/readyz": self.readyz})

    async def start(self) -> None:
        """Listen; raises `OSError` if the address cannot be used."""
        await self.door.start()

    async def stop(self) -> None:
        """Close the door."""
        await self.door.stop()

    def metrics(self) -> HttpReply:
        """Return every metric in Prometheus's text format."""
        return HTTPStatus.OK, CONTENT_TYPE_LATEST, generate_latest(self._registry)

    def healthz(self) -> HttpReply:
        """Say whether the process lives and its disk and state can be relied on; a restart helps if not."""
        error = self._failure()
        if error is not None:
            return text_reply(HTTPStatus.SERVICE_UNAVAILABLE, f"stopped: {error}")
        return text_reply(HTTPStatus.OK, "alive")

    def readyz(self) -> HttpReply:
        """Say whether clients can be sent here: a leader is known, and the state is up to date."""
        error = self._failure()
        service = self._service()
        if error is not None:
            reason = f"stopped: {error}"
        elif service is None:
            reason = "starting: the data directory is being recovered"
        else:
            reason = service.measure().not_ready
        return text_reply(HTTPStatus.SERVICE_UNAVAILABLE, reason) if reason else text_reply(HTTPStatus.OK, "ready")
