"""What is kept of slow commands: the latest, shortened, without secrets."""

from raftline.kv.slowlog import Slowlog, shorten


def _add(slowlog: Slowlog, *arguments: bytes, seconds: float = 1.0) -> None:
    slowlog.add(arguments, seconds, 5_999, "127.0.0.1:5000", b"me")


def test_the_latest_come_first_and_the_oldest_go() -> None:
    """Numbers go on rising, whatever is forgotten."""
    slowlog = Slowlog(10_000, 2)
    for number in range(3):
        _add(slowlog, b"GET", b"%d" % number)
    assert [(entry.number, entry.arguments[1]) for entry in slowlog.entries] == [(2, b"2"), (1, b"1")]
    slowlog.reset()
    _add(slowlog, b"GET", b"x")
    assert [entry.number for entry in slowlog.entries] == [3]


def test_an_entry_has_redis_s_units() -> None:
    """Whole seconds since 1970, and microseconds."""
    slowlog = Slowlog(10_000, 2)
    _add(slowlog, b"GET", b"k", seconds=0.0123456)
    (entry,) = slowlog.entries
    assert (entry.time_s, entry.duration_us, entry.address, entry.client_name) == (5, 12346, "127.0.0.1:5000", b"me")


def test_a_threshold_below_zero_keeps_nothing() -> None:
    """As in Redis: -1 switches it off, 0 keeps everything."""
    assert Slowlog(-1, 1).threshold_s == float("inf")
    assert Slowlog(0, 1).threshold_s == 0
    assert Slowlog(10_000, 1).threshold_s == 0.01


def test_long_commands_are_shortened_in_words() -> None:
    """At most 32 arguments of 128 bytes, and how much is missing."""
    kept = shorten([b"MSET", b"x" * 200, *[b"a"] * 40])
    assert len(kept) == 32
    assert kept[1] == b"x" * 128 + b"... (72 more bytes)"
    assert kept[-1] == b"... (11 more arguments)"
    assert shorten([b"GET", *[b"a"] * 31])[-1] == b"a"


def test_passwords_are_never_kept() -> None:
    """Of commands that may carry a secret only the name stays."""
    for command in (b"AUTH", b"auth", b"ACL", b"HELLO", b"MIGRATE", b"CONFIG"):
        assert shorten([command, b"user", b"secret"]) == (command, b"(redacted)")


def test_what_is_shortened_is_not_shortened_again() -> None:
    """Of a large request only what may be shown is kept, and shown as it is: with the number of bytes that it lacks."""
    kept = shorten([b"SET", b"k", b"x" * 200])
    assert shorten(kept) == kept == (b"SET", b"k", b"x" * 128 + b"... (72 more bytes)")
