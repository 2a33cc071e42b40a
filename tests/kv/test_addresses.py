"""Addresses of sockets: this machine's own, and everybody else's."""

import pytest

from raftline.kv.addresses import address_text, is_loopback


def test_addresses_are_written_with_their_port() -> None:
    """IPv6 stands in brackets; what is no address is written as it is."""
    assert address_text(("10.0.0.1", 7)) == "10.0.0.1:7"
    assert address_text(("::1", 7, 0, 0)) == "[::1]:7"
    assert address_text("/run/socket") == "/run/socket"
    assert address_text(None) == ""


@pytest.mark.parametrize(
    ("host", "is_ours"),
    [
        ("127.0.0.1", True),
        ("127.8.9.1", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("localhost", True),
        ("10.0.0.1", False),
        ("::ffff:10.0.0.1", False),
        ("0.0.0.0", False),  # noqa: S104  not bound to
        ("::", False),
        ("example.org", False),
    ],
)
def test_loopback_is_told_from_everything_else(host: str, is_ours: bool) -> None:  # noqa: FBT001  a column
    """Addresses of this machine alone, IPv6 and mapped ones included; a name is none, localhost aside."""
    assert is_loopback(host) is is_ours
