"""The bound that raftline is held against does what a replicated write cannot do without, and no more."""

import socket
from pathlib import Path

import pytest
from benchmarks.compare import WORKLOADS, _fits
from benchmarks.systems import BareHops

_SET = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$5\r\nvalue\r\n"


@pytest.fixture
def hops(tmp_path: Path) -> BareHops:
    """Return a system that is not started."""
    return BareHops(tmp_path / "hops")


def test_what_is_acknowledged_is_in_the_files_of_two(hops: BareHops) -> None:
    """Each request is answered once, pipelined ones too, and its bytes are in at least two of three files."""
    with hops, socket.create_connection(("127.0.0.1", hops.leader), 60) as client:
        answers = b""
        for count in (1, 16, 400):
            client.sendall(_SET * count)
            wanted = len(answers) + 5 * count
            while len(answers) < wanted:
                answers += client.recv(65536)
        assert answers == b"+OK\r\n" * 417
        held = [file.read_bytes().count(b"value") for file in hops.directory.glob("*.bytes")]
        assert len(held) == 3
        assert sorted(held)[1:] == [417, 417]


def test_it_takes_writes_only(hops: BareHops) -> None:
    """A bound for reads it is not."""
    assert _fits(hops, WORKLOADS["SET, pipeline 16, 64 clients"])
    assert not _fits(hops, WORKLOADS["GET, 64 clients"])
