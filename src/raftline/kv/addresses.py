"""What is to know of a client's socket: how its address is written, who reaches it, whether the other end lives."""

import ipaddress
import socket
from typing import Any

__all__ = ["address_text", "is_loopback", "keep_alive"]

_KEEPALIVE_S = 300


def is_loopback(host: str) -> bool:
    """Say whether only this machine reaches `host`; a name other than localhost might be anything."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost"
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)


def address_text(address: Any) -> str:
    """Write an address as `host:port`."""
    if isinstance(address, tuple) and len(address) >= 2:
        host = f"[{address[0]}]" if ":" in str(address[0]) else address[0]
        return f"{host}:{address[1]}"
    return str(address or "")


def keep_alive(sock: socket.socket | None) -> None:
    """Let the system find out about peers that vanished without a word."""
    if sock is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if hasattr(socket, "TCP_KEEPIDLE"):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _KEEPALIVE_S)
