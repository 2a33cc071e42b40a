"""Which node is asked: the leader if it is known and well, else whoever answers.

Any node takes any command; the leader is only the shortest way. So a node that failed is left alone for a while, even
if the others still take it for the leader, and whoever is found instead is asked for the leader now and then.
"""

from collections.abc import Iterable, Sequence

import msgspec

from raftline.errors import ConfigError

__all__ = ["Address", "Member", "Nodes", "parse_nodes"]

_SUSPECT_S = 3.0
_SUSPECT_S_MAX = 120.0
_ASK_AGAIN_S = 5.0
_SAME_FAILURE_S = 1.0
"""What fails within so long of the last one counts as that: hundreds of commands may be under way at once."""

Address = tuple[str, int]


class Member(msgspec.Struct, frozen=True):
    """One member as a node told us: where its clients connect, and whether it leads."""

    address: Address
    leads: bool

    @staticmethod
    def parse(told: dict[str, str]) -> "Member | None":
        """Read a row of RAFTLINE.MEMBER LIST; None if it names no address."""
        host, _, port = told.get("address", "").partition("@")[0].rpartition(":")
        if not host or not port.isdecimal():
            return None
        return Member((host.strip("[]"), int(port)), told.get("role") == "leader")


class Nodes:
    """All addresses, given and learned, and the one in use.

    Invariant: `current` is one of them; what was given is never forgotten, because what nodes call each other may be
    out of reach from here.
    """

    def __init__(self, given: Sequence[Address], *, learns: bool) -> None:
        if not given:
            raise ConfigError("a client needs the address of at least one node")
        self._given = list(dict.fromkeys(given))
        self._learned: list[Address] = []
        self._learns = learns
        self._failures: dict[Address, tuple[int, float]] = {}
        """How often in a row, and when last, an address failed."""
        self._asked_at: float | None = None
        self._leader: Address | None = None
        self.current = self._given[0]

    @property
    def all(self) -> list[Address]:
        """Return every address that is known."""
        return list(dict.fromkeys([*self._learned, *self._given]))

    def must_ask(self, now: float) -> bool:
        """Say whether the node in use should be asked who leads before anything else is asked of it."""
        if not self._learns:
            return False
        if self._asked_at is None:
            return True
        return self.current != self._leader and now - self._asked_at >= _ASK_AGAIN_S

    def learn(self, members: Iterable[Member], now: float) -> None:
        """Take what the node in use says of the cluster; go on to the leader unless it failed just now."""
        found = list(members)
        self._asked_at = now
        self._failures.pop(self.current, None)
        if found:
            self._learned = [member.address for member in found]
        self._leader = next((member.address for member in found if member.leads), None)
        if self._leader is not None and not self._is_suspect(self._leader, now):
            self.current = self._leader

    def on_answer(self, address: Address) -> None:
        """Note that a node has answered: it has failed no more than the next time it does."""
        if self._failures:
            self._failures.pop(address, None)

    def on_failure(self, address: Address, now: float) -> None:
        """Leave a node alone for a while and go on to the one that failed longest ago, or never."""
        count, failed_at = self._failures.get(address, (0, now - _SAME_FAILURE_S))
        self._failures[address] = (count + (now - failed_at >= _SAME_FAILURE_S), now)
        self._asked_at = None
        if address == self.current:
            others = [each for each in self.all if each != address] or [address]
            self.current = min(others, key=lambda each: self._failures.get(each, (0, float("-inf")))[1])

    def _is_suspect(self, address: Address, now: float) -> bool:
        """Say whether it failed just now; the longer it has not answered, the longer that is."""
        count, failed_at = self._failures.get(address, (0, 0.0))
        return count > 0 and now - failed_at < _suspect_s(count)


def _suspect_s(count: int) -> float:
    """Return for how long a node is left alone that has failed so often in a row."""
    return min(_SUSPECT_S_MAX, _SUSPECT_S * 2.0 ** min(count - 1, 10))


def parse_nodes(nodes: str | Iterable[str | Address]) -> list[Address]:
    """Read `"host:port,host:port"`, or a list of such texts or pairs; raises `ConfigError`."""
    found: list[Address] = []
    for node in nodes.split(",") if isinstance(nodes, str) else nodes:
        if isinstance(node, tuple):
            found.append((str(node[0]), int(node[1])))
            continue
        host, _, port = node.strip().rpartition(":")
        if not host or not port.isdecimal():
            raise ConfigError(f"{node!r} is no address: write host:port")
        found.append((host.strip("[]"), int(port)))
    return found
