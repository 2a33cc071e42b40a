"""What the log says of clients that are not served, or not any longer: each reason once in a while for each host."""

import time
from typing import Final

import structlog

from raftline.transport.notices import Notices

__all__ = ["ITS_TLS", "ClientLog"]

ITS_TLS: Final = "it speaks TLS, and this port plain text: see tls_clients"


class ClientLog:
    """Passes lines on to the log of the server; many clients in the same trouble do not flood it."""

    def __init__(self) -> None:
        self.notices = Notices(structlog.get_logger("raftline.kv"), time.monotonic)

    def refused(self, remote: str, reason: str) -> None:
        """Tell that a client at `host:port` was not let in."""
        self._tell("client refused", remote, reason)

    def _tell(self, event: str, remote: str, reason: str) -> None:
        host = remote.rpartition(":")[0]
        self.notices.warn((event, host, reason), event, remote=remote, reason=reason)
