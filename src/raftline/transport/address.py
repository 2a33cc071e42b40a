"""Addresses as Redis Cluster writes them: `host:port@busport`, IPv6 hosts in brackets.

Clients connect to `port`, peers to `busport`, which is the client port + 10000 unless it is written. Every refusal
names the address, what is wrong with it and what would be right.
"""

import ipaddress

import msgspec

from raftline.errors import ConfigError

__all__ = ["BUS_PORT_OFFSET", "Address", "parse_address", "parse_client_address"]

BUS_PORT_OFFSET = 10000
"""Bus port = client port + this, unless the bus port is written."""

_PORT_MAX = 65535
_HOST_LENGTH_MAX = 253
_LABEL_LENGTH_END = 64


class Address(msgspec.Struct, frozen=True):
    """Where a node listens; `str()` gives the full form, bus port included."""

    host: str
    """A name or an IP address, without brackets."""
    port: int
    """For clients."""
    bus_port: int
    """For peers."""

    def __str__(self) -> str:
        return f"{self.client}@{self.bus_port}"

    def shares_port_with(self, other: "Address") -> bool:
        """Say whether both name the same port of the same host, whatever for; other names of a host are not known."""
        return self.host == other.host and bool({self.port, self.bus_port} & {other.port, other.bus_port})

    @property
    def client(self) -> str:
        """`host:port`, what a client connects to."""
        return f"{_bracketed(self.host)}:{self.port}"

    @property
    def bus(self) -> str:
        """`host:busport`, what a peer connects to."""
        return f"{_bracketed(self.host)}:{self.bus_port}"


def parse_address(text: str) -> Address:
    """Read `host:port` or `host:port@busport`; raise ConfigError saying what is wrong and what to write."""
    head, at, bus_text = text.partition("@")
    host, port_text = _split_host(head, text)
    port = _parse_port(port_text, "port", text)
    if at:
        bus_port = _parse_port(bus_text, "bus port", text)
    else:
        bus_port = port + BUS_PORT_OFFSET
        if bus_port > _PORT_MAX:
            raise ConfigError(
                f"address {text!r}: the bus port would be {port} + {BUS_PORT_OFFSET} = {bus_port}, above {_PORT_MAX};"
                f" write it, as in '{head}@{port - BUS_PORT_OFFSET}'"
            )
    if bus_port == port:
        raise ConfigError(f"address {text!r}: clients and peers cannot share port {port}; give another bus port")
    return Address(host, port, bus_port)


def parse_client_address(text: str) -> Address | None:
    """Read `host:port`, None if it is no address; the bus port, which clients do not need, may be written or not."""
    spare = "@2" if text.endswith(":1") else "@1"
    try:
        return parse_address(text if "@" in text else text + spare)
    except ConfigError:
        return None


def _split_host(head: str, text: str) -> tuple[str, str]:
    """Return host and port text of `host:port` or `[v6]:port`."""
    if head.startswith("["):
        host, bracket, rest = head[1:].partition("]")
        if not bracket or not rest.startswith(":"):
            raise ConfigError(f"address {text!r}: an IPv6 address is written '[host]:port', as in '[::1]:7001'")
        try:
            ipaddress.IPv6Address(host)
        except ValueError as error:
            raise ConfigError(f"address {text!r}: {host!r} is no IPv6 address: {error}") from None
        return host, rest[1:]
    host, colon, port_text = head.rpartition(":")
    if not colon:
        raise ConfigError(f"address {text!r}: the port is missing; write 'host:port' or 'host:port@busport'")
    if ":" in host:
        raise ConfigError(f"address {text!r}: put an IPv6 address in brackets, as in '[{host}]:{port_text}'")
    if not host:
        raise ConfigError(f"address {text!r}: the host is missing; write 'host:port' or 'host:port@busport'")
    if len(host) > _HOST_LENGTH_MAX or not (_has_labels(host) and all(c.isalnum() or c in "-._" for c in host)):
        raise ConfigError(f"address {text!r}: {host[:80]!r} is no host name or IP address")
    return host, port_text


def _has_labels(host: str) -> bool:
    """Say whether a name can be looked up at all: Python raises what is no OSError for empty and for long labels."""
    try:
        labels = (host if host.isascii() else host.encode("idna").decode()).removesuffix(".").split(".")
    except UnicodeError:
        return False
    return all(0 < len(label) < _LABEL_LENGTH_END for label in labels)


def _parse_port(port_text: str, what: str, text: str) -> int:
    if not (port_text.isascii() and port_text.isdecimal()):
        raise ConfigError(f"address {text!r}: the {what} {port_text!r} is no number; use 1 to {_PORT_MAX}")
    if len(port_text) > len(str(_PORT_MAX)) or not 1 <= int(port_text) <= _PORT_MAX:
        raise ConfigError(f"address {text!r}: the {what} {port_text} is out of range; use 1 to {_PORT_MAX}")
    return int(port_text)


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
