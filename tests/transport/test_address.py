"""Addresses: what is understood, and what is said about the rest."""

import pytest

from raftline.errors import ConfigError
from raftline.transport.address import BUS_PORT_OFFSET, Address, parse_address, parse_client_address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:7001", Address("127.0.0.1", 7001, 17001)),
        ("127.0.0.1:7001@9000", Address("127.0.0.1", 7001, 9000)),
        ("node-1.example.org:1@65535", Address("node-1.example.org", 1, 65535)),
        ("node-1.example.org.:7001", Address("node-1.example.org.", 7001, 17001)),
        ("b\u00fccher.example:7001", Address("b\u00fccher.example", 7001, 17001)),
        ("some_host:55535", Address("some_host", 55535, 65535)),
        ("[::1]:7001", Address("::1", 7001, 17001)),
        ("[fe80::1%eth0]:7001@7002", Address("fe80::1%eth0", 7001, 7002)),
    ],
)
def test_what_is_understood(text: str, address: Address) -> None:
    """Host, port and bus port are read, the bus port being port + 10000 unless written; `str` gives the full form."""
    assert parse_address(text) == address
    assert parse_address(str(address)) == address


def test_the_parts_an_operator_reads() -> None:
    """Client and bus address are given as one would type them."""
    address = parse_address("[::1]:7001")
    assert (address.client, address.bus, str(address)) == ("[::1]:7001", "[::1]:17001", "[::1]:7001@17001")
    assert address.bus_port == address.port + BUS_PORT_OFFSET


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "port is missing"),
        ("localhost", "port is missing"),
        ("localhost@17001", "port is missing"),
        (":7001", "host is missing"),
        ("localhost:", "the port '' is no number"),
        ("localhost:http", "the port 'http' is no number"),
        ("localhost:-1", "the port '-1' is no number"),
        ("localhost:+7001", "is no number"),
        ("localhost: 7001", "is no number"),
        ("localhost:\N{ARABIC-INDIC DIGIT SEVEN}", "is no number"),
        ("localhost:0", "the port 0 is out of range; use 1 to 65535"),
        ("localhost:65536@1", "the port 65536 is out of range"),
        ("localhost:" + "9" * 5000, "is out of range"),
        ("localhost:7001@", "the bus port '' is no number"),
        ("localhost:7001@x", "the bus port 'x' is no number"),
        ("localhost:7001@0", "the bus port 0 is out of range"),
        ("localhost:7001@70000", "the bus port 70000 is out of range"),
        ("localhost:7001@1@2", "the bus port '1@2' is no number"),
        ("localhost:7001@7001", "cannot share port 7001"),
        ("localhost:55536", r"55536 \+ 10000 = 65536, above 65535; write it, as in 'localhost:55536@45536'"),
        ("::1:7001", r"put an IPv6 address in brackets, as in '\[::1\]:7001'"),
        ("[::1]", r"written '\[host\]:port'"),
        ("[::1:7001", r"written '\[host\]:port'"),
        ("[::1]7001", r"written '\[host\]:port'"),
        ("[localhost]:7001", "is no IPv6 address"),
        ("local host:7001", "is no host name"),
        ("redis://localhost:7001", "put an IPv6|is no host name"),
        ("a/b:7001", "is no host name"),
        ("x" * 254 + ":7001", "is no host name"),
        ("10.0.0..1:7001", "is no host name"),
        (".example:7001", "is no host name"),
        ("n." + "x" * 64 + ".example:7001", "is no host name"),
        ("\u00fc" * 63 + ":7001", "is no host name"),
    ],
)
def test_what_is_refused_and_how(text: str, complaint: str) -> None:
    """Each refusal names the address and says what is wrong with it."""
    with pytest.raises(ConfigError, match=complaint) as caught:
        parse_address(text)
    assert str(caught.value).startswith(f"address {text!r}: ")


@pytest.mark.parametrize("text", ["h:7001", "h:1", "h:7001@17001", "[::1]:60000"])
def test_clients_need_no_bus_port(text: str) -> None:
    """It may be written or not, and none has to fit behind the client port."""
    address = parse_client_address(text)
    assert address is not None
    assert address.client == text.partition("@")[0]


@pytest.mark.parametrize("text", ["", "h", "h:x", "h:0", ":7001"])
def test_what_is_no_address_for_clients_is_none(text: str) -> None:
    """Each command says by itself what to write."""
    assert parse_client_address(text) is None
