"""What the log says of clients that are not served, or not any longer: each reason once in a while for each host."""

import time
from typing import Final

import structlog

from raftline.kv.connection import Connection
from raftline.transport.notices import Notices

__all__ = ["ITS_TLS", "PROTECTED_MODE", "ClientLog"]

ITS_TLS: Final = "it speaks TLS, and this port plain text: see tls_clients"
PROTECTED_MODE: Final = "protected mode: the user default needs no password"


class ClientLog:
    """Passes lines on to the log of the server; many clients in the same trouble do not flood it."""

    def __init__(self) -> None:
        self.notices = Notices(structlog.get_logger("raftline.kv"), time.monotonic)

    def refused(self, remote: str, reason: str) -> None:
        """Tell that a client at `host:port` was not let in."""
        self._tell("client refused", remote, reason)

    def too_slow(self, connection: Connection, held_bytes: int) -> None:
        """Tell that a client is closed, and which setting it met; `held_bytes` wait for it to be taken."""
        client = connection.client
        limits, setting = client.server.limits, "receive_s_max"
        if held_bytes > client.output_bytes_max:
            setting, trouble = client.output_limit, "what waits for it to be taken is above"
        elif connection.is_output_blocked:
            setting, trouble = "stalled_s_max", "it did not take its replies within"
        elif client.closing or client.is_at_end:
            return
        else:
            trouble = "its request was not complete within"
        reason = f"{trouble} {setting} ({getattr(limits, setting)})"
        self._tell("client closed", client.address, reason, held_bytes=held_bytes)

    def _tell(self, event: str, remote: str, reason: str, **more: object) -> None:
        host = remote.rpartition(":")[0]
        self.notices.warn((event, host, reason), event, remote=remote, reason=reason, **more)
