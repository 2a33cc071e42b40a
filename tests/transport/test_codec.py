"""The codec: everything that is sent comes out the same, and nothing that comes in can raise anything but PeerError."""

import typing

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftline.core.entries import KIND_MEMBERSHIP, Entry
from raftline.core.membership import Membership
from raftline.core.messages import (
    AppendReply,
    AppendRequest,
    Beat,
    ForwardReply,
    ForwardRequest,
    Message,
    ReadIndexReply,
    ReadIndexRequest,
    RemoteCommands,
    RemoteQuery,
    RemoteReply,
    SnapshotReply,
    SnapshotRequest,
    TimeoutNow,
    VoteReply,
    VoteRequest,
)
from raftline.errors import PeerError
from raftline.transport.codec import (
    HANDSHAKE_BYTES_MAX,
    VERSIONS,
    Codec,
    Envelope,
    Hello,
    Ping,
    Refusal,
    Stranger,
    UnknownKind,
    Versions,
    Welcome,
    agreed_version,
    version_of,
)
from raftline.transport.frame import HEADER_BYTES, PREFACE

MESSAGES: list[Message] = [
    VoteRequest(3, 17, 2, pre_vote=True, transfer=True, bootstrap=True),
    VoteReply(3, 2, granted=True, unestablished=True),
    AppendRequest(3, 9, 2, (Entry(10, 3, b"\x00\xff", time_ms=5), Entry(11, 3, b"", KIND_MEMBERSHIP)), 9, 4, 8, 2**63),
    AppendRequest(3, 9, 2, (), 9),
    AppendReply(3, 3, success=False, prev_index=9, match_index=0, conflict_index=4, conflict_term=2, round=4),
    AppendReply(3, 3, success=True, prev_index=9, match_index=9, restoring=True),
    SnapshotRequest(3, 9, 2, Membership.of({"n1": "h:1@2", "n2": "h:3@4"}), 0, b"bytes", done=True),
    SnapshotReply(3, 3, 9, 5, installed=False),
    ReadIndexRequest(3, 77),
    ReadIndexReply(3, 77, None),
    TimeoutNow(3),
    TimeoutNow(3, (("n1", 80.0), ("n2", 7.5))),
    ForwardRequest(3, 9, 5, (b"SET", b"")),
    ForwardReply(9, 5, ((0, b"OK"), (3, b""))),
    Beat(7, asks=True),
    RemoteCommands(9, 5, (b"SET", b""), 4),
    RemoteQuery(9, 6, b"GET", "linearizable"),
    RemoteQuery(9, 7, b"GET", "bounded", 1.5, 4),
    RemoteReply(9, 5, 1, ((0, b"OK"), (3, b""))),
]


def payload_of(value: Hello | Welcome | Refusal | Ping | Stranger | Envelope) -> bytes:
    """Return the payload of the frame of `value`."""
    return bytes(Codec().control_frame(value)[HEADER_BYTES:])


def test_the_samples_cover_the_whole_union() -> None:
    """No kind of message is left out of these tests."""
    assert {type(message) for message in MESSAGES} == set(typing.get_args(Message))


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_every_message_comes_out_as_it_went_in(message: Message) -> None:
    """Messages, and the group they belong to, survive the wire unchanged."""
    frame = Codec().frame_of(7, message)
    assert int.from_bytes(frame[:HEADER_BYTES], "big") == len(frame) - HEADER_BYTES
    assert Codec().decode_accepted(memoryview(frame)[HEADER_BYTES:]) == Envelope(7, message)


def test_the_handshake_comes_out_as_it_went_in() -> None:
    """Either direction's opening is its preface and one frame."""
    codec = Codec()
    hello = Hello(1, "c", "n1", "n2", 2)
    assert codec.opening(hello).startswith(PREFACE)
    assert codec.decode_accepted(memoryview(payload_of(hello))) == hello
    assert codec.decode_accepted(memoryview(payload_of(Ping()))) == Ping()
    for frame in (Welcome(VERSIONS.newest, "n2"), Refusal("why"), Ping(), Stranger(0, 7, (("n2", "h:1"),), 3)):
        assert codec.decode_dialled(memoryview(payload_of(frame))) == frame


def test_the_same_message_to_several_peers_is_encoded_once() -> None:
    """The very same object in a row gives the very same frame; another object, or another group, does not."""
    codec = Codec()
    first, second = TimeoutNow(3), TimeoutNow(3)
    frame = codec.frame_of(0, first)
    assert codec.frame_of(0, first) is frame
    assert codec.frame_of(1, first) != frame
    assert codec.frame_of(0, second) is not frame
    frame = codec.frame_of(0, second)
    codec.forget()
    assert codec.frame_of(0, second) is not frame


def test_a_remembered_frame_is_not_given_to_a_later_object() -> None:
    """Messages that come and go at the same address in memory are told apart."""
    codec = Codec()
    for term in range(1000):
        payload = memoryview(codec.frame_of(0, TimeoutNow(term)))[HEADER_BYTES:]
        assert codec.decode_accepted(payload) == Envelope(0, TimeoutNow(term))


@pytest.mark.parametrize(
    "payload",
    [
        b"\xc1",
        b"\xc0",
        b"\x01",
        b"GET / HTTP/1.1\r\n",
        msgspec.msgpack.encode(["no word", 1]),
        msgspec.msgpack.encode(["m", 0, ["?", 1]]),
        msgspec.msgpack.encode(["m", "group", ["T", 1]]),
        msgspec.msgpack.encode(["m", 0, ["T", "term"]]),
        msgspec.msgpack.encode(["m", 0, ["T"]]),
        msgspec.msgpack.encode(["m", 0]),
        msgspec.msgpack.encode(["m", 0, ["T", 1]]) + b"\x00",
        msgspec.msgpack.encode(["m", 0, ["T", 1]])[:-1],
        b"\x94\xa5hello\x01\xa1c\xa2\xff\xfe\xa1t",
        b"\x93\xa1m\x00" + b"\x91" * 100_000,
        b"\x93\xa1m\x00\x93\xa1F\x01\xdd\xff\xff\xff\xff",
        b"\x93\xa1m\x00\x92\xa1T\xcf" + b"\xff" * 7,
        b"",
    ],
)
def test_what_no_peer_sends_is_a_peer_error_with_a_reason(payload: bytes) -> None:
    """Garbage, strange tags, wrong types, cut and overlong values: always PeerError, never anything else."""
    with pytest.raises(PeerError, match=r"an undecodable frame of \d+ bytes: ."):
        Codec().decode_accepted(memoryview(payload))
    with pytest.raises(PeerError):
        Codec().decode_dialled(memoryview(payload))


@given(st.binary(max_size=200))
def test_random_bytes_never_raise_anything_else(payload: bytes) -> None:
    """Whatever arrives, the answer is a frame or a PeerError."""
    for decode in (Codec().decode_accepted, Codec().decode_dialled):
        try:
            decode(memoryview(payload))
        except PeerError:
            continue


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_damaged_messages_never_raise_anything_else(message: Message) -> None:
    """Each byte of each kind of message changed to each of several values, and each prefix: a frame or a PeerError."""
    codec = Codec()
    payload = payload_of(Envelope(0, message))
    damaged = [payload[:length] for length in range(len(payload))]
    for position in range(len(payload)):
        values = (0, 0x7F, 0x80, 0xC1, 0xDD, 0xFF, payload[position] ^ 1)
        damaged += [payload[:position] + bytes([value]) + payload[position + 1 :] for value in values]
    for candidate in damaged:
        try:
            codec.decode_accepted(memoryview(candidate))
        except PeerError:
            continue


def test_a_later_version_may_append_fields() -> None:
    """Further elements at the end of an array are ignored, so that old and new nodes understand each other."""
    payload = msgspec.msgpack.encode(["hello", 9, "c", "n1", "n2", 10, {"feature": True}])
    assert Codec().decode_accepted(memoryview(payload)) == Hello(9, "c", "n1", "n2", 10)


def test_what_older_nodes_pass_on_is_understood() -> None:
    """A question without a bound, so that a bounded read is refused as one that names none; nor is a history said.

    A follower that does not say whether it restores a snapshot is taken for one that does not.
    """
    payload = msgspec.msgpack.encode(["m", 7, ["Q", 9, 6, b"GET", "bounded"]])
    question = Envelope(7, RemoteQuery(9, 6, b"GET", "bounded", 0.0, 0))
    assert Codec().decode_accepted(memoryview(payload)) == question
    payload = msgspec.msgpack.encode(["m", 7, ["C", 9, 6, [b"SET"]]])
    assert Codec().decode_accepted(memoryview(payload)) == Envelope(7, RemoteCommands(9, 6, (b"SET",), 0))
    payload = msgspec.msgpack.encode(["m", 7, ["a", 3, 3, True, 9, 9, 0, 0, 0, False, 1, False, 0, 0, True]])
    answer = AppendReply(3, 3, success=True, prev_index=9, match_index=9, asleep=True, restoring=False)
    assert Codec().decode_accepted(memoryview(payload)) == Envelope(7, answer)


def test_the_first_versions_handshake_is_understood() -> None:
    """It named one version only; that is then the oldest and the newest, and what it reads of ours is the oldest."""
    payload = msgspec.msgpack.encode(["hello", 1, "c", "n1", "n2"])
    hello = Codec().decode_accepted(memoryview(payload))
    assert isinstance(hello, Hello)
    assert hello.versions == Versions(1, 1)
    ours = Hello(VERSIONS.oldest, "c", "n1", "n2", VERSIONS.newest)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(ours))[:5] == ["hello", 1, "c", "n1", "n2"]


@pytest.mark.parametrize(
    ("ours", "theirs", "agreed"),
    [
        ((1, 1), (1, 1), 1), ((1, 2), (1, 1), 1), ((1, 2), (1, 3), 2), ((2, 3), (1, 2), 2),
        ((1, 2), (3, 4), None), ((3, 4), (1, 2), None),
    ],
)  # fmt: skip
def test_two_nodes_speak_the_newest_version_that_both_know(
    ours: tuple[int, int], theirs: tuple[int, int], agreed: int | None
) -> None:
    """Whoever asks."""
    assert agreed_version(Versions(*ours), Versions(*theirs)) == agreed
    assert agreed_version(Versions(*theirs), Versions(*ours)) == agreed


def test_kinds_of_later_versions_are_told_from_nonsense() -> None:
    """A frame or message whose kind is a word that is not known; anything else is still an error."""
    codec = Codec()
    for later, kind in ((["m", 0, ["Z", 1, 2]], "Z"), (["later", 1], "later")):
        payload = memoryview(msgspec.msgpack.encode(later))
        with pytest.raises(UnknownKind) as unknown:
            codec.decode_accepted(payload)
        assert str(unknown.value) == kind
    with pytest.raises(UnknownKind):
        codec.decode_dialled(memoryview(msgspec.msgpack.encode(["later"])))
    wrongs: list[object] = [
        ["m", 0, ["V", "no term"]],
        ["m", 0, [7]],
        ["m", 0, []],
        ["m", 0],
        ["hello"],
        [7],
        [],
        "m",
        {},
    ]
    for wrong in [*wrongs, ["m", 0, ["x" * 99]]]:
        with pytest.raises(PeerError, match="an undecodable frame"):
            codec.decode_accepted(memoryview(msgspec.msgpack.encode(wrong)))


def test_every_message_has_a_version_that_is_spoken() -> None:
    """None is sent that no version of ours knows."""
    for kind in typing.get_args(Message):
        assert version_of(kind) <= VERSIONS.newest


def test_a_word_to_a_stranger_fits_the_frames_that_a_dialler_reads() -> None:
    """Of many members as many are named as there is room for, the first ones."""
    addresses = tuple((f"node-{number:03}", f"host-{number:03}.example.org:7001@17001") for number in range(100))
    frame = Codec().stranger_frame(Stranger(0, 2**63, addresses, 2**32))
    assert len(frame) - HEADER_BYTES <= HANDSHAKE_BYTES_MAX
    word = Codec().decode_dialled(memoryview(frame)[HEADER_BYTES:])
    assert isinstance(word, Stranger)
    assert word.index == 2**63
    assert len(word.addresses) > 10
    assert word.addresses == addresses[: len(word.addresses)]


def test_the_longest_handshake_frames_fit_their_limit() -> None:
    """Names of the longest allowed length and a reason in any script fit into a handshake frame."""
    name = "\N{CJK UNIFIED IDEOGRAPH-4E00}" * 66
    assert len(payload_of(Hello(2**63, name, name, name, 2**63))) <= HANDSHAKE_BYTES_MAX
    refusal = Codec().refusal("\N{GRINNING FACE}" * 10_000)
    assert len(payload_of(refusal)) <= HANDSHAKE_BYTES_MAX
