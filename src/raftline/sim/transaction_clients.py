"""Clients with transactions, through any node: amounts move between keys, and a value is replaced under a watch.

Whoever reads all accounts at once finds the sum that was there in the beginning, so nobody sees half a transaction. A
value that is only ever replaced under a watch has one successor: two clients that were both told that they replaced
the same value did not see each other, and one of their writes is lost.
"""

from collections.abc import Callable
from random import Random

import msgspec

from raftline.errors import SafetyViolation
from raftline.sim.cluster import SimCluster
from raftline.sim.workload import Answer, Door

__all__ = ["TransactionClients"]

_ACCOUNTS = tuple(b"account%d" % number for number in range(4))
_VALUES = 2
_TIMEOUT_S = 3.0
_THINK_S = 0.4
_pack = msgspec.msgpack.encode


class TransactionClients:
    """All of them.

    Invariant: `successors` holds who replaced which value, as far as their clients were told.
    """

    def __init__(self, cluster: SimCluster, door: Door, count: int, random: Random) -> None:
        self.cluster = cluster
        self.door = door
        self.random = random.random
        self.stopping = False
        self.numbers = 0
        self.successors: dict[tuple[bytes, str | None], bytes] = {}
        self.counts = {"transactions moved": 0, "transactions replaced": 0, "transactions aborted": 0, "sums read": 0}
        self._count = count

    def start(self) -> None:
        """Let every client begin."""
        for _ in range(self._count):
            self.later(self.next)

    def stop(self) -> None:
        """Let no client ask anything more."""
        self.stopping = True

    def next(self) -> None:
        """Do one of the three things that clients do."""
        drawn = self.random()
        if drawn < 0.3:
            self._move()
        elif drawn < 0.5:
            self._read_sum()
        else:
            self._replace(b"value%d" % int(self.random() * _VALUES))

    def later(self, what: Callable[[], None]) -> None:
        """Do something after a while."""
        self.cluster.world.call_later(_THINK_S * self.random(), what)

    # What they do.

    def _move(self) -> None:
        source, target = (_ACCOUNTS[int(self.random() * len(_ACCOUNTS))] for _ in range(2))
        amount = b"%d" % int(self.random() * 100)
        commands = ([b"DECRBY", source, amount], [b"RANDOMKEY"], [b"INCRBY", target, amount])

        def done(answer: Answer) -> None:
            self.counts["transactions moved"] += answer.error is None
            self.next()

        self._ask([b"RAFTLINE.EXEC", b"", _pack([]), *map(_pack, commands)], done)

    def _read_sum(self) -> None:
        def done(answer: Answer) -> None:
            if answer.error is None:
                self.counts["sums read"] += 1
                if sum(int(held or 0) for held in answer.value):
                    raise SafetyViolation(f"the accounts hold {answer.value}: half a transaction (G1)")
            self.next()

        self._ask([b"MGET", *_ACCOUNTS], done)

    def _replace(self, key: bytes) -> None:
        """Watch, read through another node, and replace what was read if nobody else did."""

        def marked(marks: Answer) -> None:
            if marks.error is not None:
                self.next()
            else:
                history, mark = marks.value
                self._ask([b"GET", key], lambda held: self._replace_read(key, (history, mark), held))

        self._ask([b"RAFTLINE.WATCH", key], marked)

    def _replace_read(self, key: bytes, marks: tuple[bytes | str, int], held: Answer) -> None:
        if held.error is not None:
            self.next()
            return
        self.numbers += 1
        value = b"%d" % self.numbers
        history, mark = marks

        def done(answer: Answer) -> None:
            if answer.error is None and answer.value is None:
                self.counts["transactions aborted"] += 1
            elif answer.error is None:
                self.counts["transactions replaced"] += 1
                before = self.successors.setdefault((key, held.value), value)
                if before != value:
                    raise SafetyViolation(
                        f"{key!r}: {held.value} was replaced by {before!r} and by {value!r}, under a watch (G1)"
                    )
            self.next()

        words = [history if isinstance(history, bytes) else history.encode(), _pack([(key, mark)])]
        self._ask([b"RAFTLINE.EXEC", *words, _pack([b"SET", key, value]), _pack([b"INCR", b"replaced"])], done)

    def _ask(self, words: list[bytes], on_answer: Callable[[Answer], None]) -> None:
        """Ask some node; no answer within a while is one, too."""
        if self.stopping:
            return
        ready = self.cluster.ready()
        open_ = [True]

        def done(answer: Answer) -> None:
            if open_:
                open_.clear()
                self.later(lambda: on_answer(answer))

        self.cluster.world.call_later(_TIMEOUT_S, done, Answer(error="no answer", may_take_effect=True))
        if ready:
            self.door.ask(ready[int(self.random() * len(ready))], words, done)
