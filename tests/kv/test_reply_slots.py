"""A place in the order of replies knows its outcome; the time of the first of a turn is in test_slowlog."""

from raftline.kv.reply_slots import SilentWrite, Write


class _Owner:
    def __init__(self) -> None:
        self.done = 0

    def on_failed_write(self, reason: Exception) -> bytes:
        return str(reason).encode()

    def on_write_done(self) -> None:
        self.done += 1


def test_an_outcome_is_a_reply_or_a_refusal_in_words() -> None:
    """Whatever comes, the connection hears of it once, and what is silent says nothing."""
    owner = _Owner()
    good, bad, silent = Write(owner), Write(owner), SilentWrite(owner)
    good.done(b"+OK\r\n")
    bad.done(ValueError("no"))
    silent.done(b"+OK\r\n")
    assert (good.reply, bad.reply, silent.reply) == (b"+OK\r\n", b"no", b"")
    assert owner.done == 3
