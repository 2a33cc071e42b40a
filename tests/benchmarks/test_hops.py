"""The bound that raftline is held against does what a replicated write cannot do without, and no more."""

import socket
from pathlib import Path

import pytest
from benchmarks.compare import WORKLOADS, _fits
from benchmarks.hops import Store
from benchmarks.systems import BareHops, BareStore

_SET = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$5\r\nvalue\r\n"


@pytest.fixture
def hops(tmp_path: Path) -> BareHops:
    """Return a system that is not started."""
    return BareHops(tmp_path / "hops")


@pytest.mark.parametrize("kind", [BareHops, BareStore])
def test_what_is_acknowledged_is_in_the_files_of_two(kind: type[BareHops], tmp_path: Path) -> None:
    """Each request is answered once, pipelined ones too, and its bytes are in at least two of three files."""
    hops = kind(tmp_path / "hops")
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


def test_a_bare_store_carries_out_what_is_committed_everywhere() -> None:
    """With each batch followers hear how far the leader is, and end with the same values and digest."""
    leader, follower = Store(), Store()
    for number in range(1, 4):
        sealed = leader.seal(number, [[b"SET", b"k%d" % key, b"v%d" % number] for key in range(40)])
        follower.apply(follower.open(number, sealed))
        assert (leader.applied, follower.applied) == (number - 1, number - 1)
        leader.apply(number)
    follower.apply(3)
    assert (leader.values, leader.digest) == (follower.values, follower.digest)
    assert leader.values == {b"k%d" % key: b"v3" for key in range(40)}


def test_a_bare_store_notices_a_damaged_batch() -> None:
    """Its checksum is there to be looked at."""
    sealed = Store().seal(1, [[b"SET", b"k", b"v"]])
    with pytest.raises(ValueError, match="batch 1 is damaged"):
        Store().open(1, sealed[:-1] + b"x")
