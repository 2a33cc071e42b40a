"""Locks by the log: each wrong reply is noticed, each right one is not."""

import pytest

from raftline.errors import SafetyViolation
from raftline.kv.machine import encode_command
from raftline.sim.lock_checks import LockChecks

NOT_HELD = b"-NOTHELD words\r\n"
LOCKED = b"-LOCKED words\r\n"


class Log:
    """Entries with the replies that the test wants."""

    def __init__(self) -> None:
        self.checks = LockChecks()
        self.index = 0

    def add(self, line: str, reply: bytes, time_ms: int) -> None:
        """Apply `acquire owner lease`, `renew owner token lease` or `release owner token` of one lock, and check."""
        verb, owner, *more = line.encode().split()
        command = encode_command([b"RAFTLINE.LOCK|" + verb.upper(), verb.upper(), b"name", owner, *more])
        self.index += 1
        self.checks.watched(lambda *_: reply)(command, self.index, time_ms)
        self.checks.check()


@pytest.fixture
def log() -> Log:
    """A log in which `a` acquired the lock at 1000 for 100 ms, with token 5."""
    log = Log()
    log.add("acquire a 100", b":5\r\n", 1000)
    return log


def test_what_is_right_passes(log: Log) -> None:
    """Refusals, renewals, an expiry, the next holder, a release; what others apply again is not looked at."""
    log.add("acquire b 100", LOCKED, 1050)
    log.add("renew a 5 100", b"+OK\r\n", 1090)
    log.add("renew a 5 100", NOT_HELD, 1190)
    log.add("acquire b 100", b":6\r\n", 1200)
    log.add("release a 5", NOT_HELD, 1210)
    log.add("release b 6", b":1\r\n", 1210)
    log.add("acquire a 100", b":9\r\n", 900)
    log.add("acquire a 100", b":9\r\n", 900)
    assert (log.checks.acquired, log.checks.ran_out, log.checks.refused) == (3, 1, 1)
    log.index -= 1
    log.add("acquire a 100", b":1\r\n", 900)


@pytest.mark.parametrize(
    ("line", "reply", "time_ms"),
    [
        ("acquire b 100", b":6\r\n", 1050),
        ("acquire a 100", b":6\r\n", 1050),
        ("acquire a 100", LOCKED, 1050),
        ("acquire b 100", LOCKED, 1100),
        ("acquire b 100", b":5\r\n", 1100),
        ("acquire b 100", b":4\r\n", 1100),
        ("renew a 5 100", b"+OK\r\n", 1100),
        ("renew a 5 100", NOT_HELD, 1099),
        ("renew b 5 100", b"+OK\r\n", 1050),
        ("renew a 4 100", b"+OK\r\n", 1050),
        ("release b 5", b":1\r\n", 1050),
        ("release a 4", b":1\r\n", 1050),
        ("release a 5", b":1\r\n", 1100),
        ("release a 5", NOT_HELD, 1050),
    ],
)
def test_what_is_wrong_is_noticed(log: Log, line: str, reply: bytes, time_ms: int) -> None:
    """A second holder, a token that comes again or falls, a lease that lasts too long or too short."""
    with pytest.raises(SafetyViolation, match=r"lock name, index 2: "):
        log.add(line, reply, time_ms)
