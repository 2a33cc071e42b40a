"""What can be told of a socket's address: how it is written, and whether only this machine reaches it."""

import ipaddress
from typing import Any

__all__ = ["address_text", "is_loopback"]


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
