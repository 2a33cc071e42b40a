"""The promises that the tests hold a server to, each with the rules that are usually broken when it is.

`BrokenPromise` is how a test fails: the promise, what was seen, where, and where to look first.
"""

from typing import NamedTuple

from raftline.lab.rules import RULES

__all__ = ["PROMISES", "BrokenPromise", "Promise", "rules_in"]


class Promise(NamedTuple):
    """One sentence, and the numbers of `RULES` that usually stand behind its failure, likeliest first."""

    sentence: str
    rules: tuple[str, ...]


def _promise(sentence: str, *rules: str) -> Promise:
    missing = [number for number in rules if number not in RULES]
    assert not missing, f"unknown rules {missing}"
    return Promise(sentence, rules)


PROMISES = {
    # Elections
    "leader": _promise(
        "a leader stands within 5 s whenever a majority can talk",
        "A5",
        "A8",
        "A1",
        "A6",
        "A19",
        "A13",
        "A2",
        "E9",
        "A21",
    ),
    "one leader": _promise("a term has at most one leader", "A11", "C3", "A12", "A17", "A16", "E11", "A9", "A21", "E8"),
    "quorum leader": _promise("nobody leads without a majority", "A27", "A16", "E5", "A9"),
    "elected": _promise(
        "a leader was elected by a majority, in the term it leads", "A17", "A16", "E1", "E11", "A9", "E5"
    ),
    "same term": _promise("servers that hear one leader share its term", "A8", "A14", "A22"),
    "stable": _promise(
        "without failures the same leader stays in the same term", "A23", "A2", "A7", "A22", "A20", "A25"
    ),
    "term rises": _promise("a server's term never goes back, not even over a restart", "C4", "C2", "C6", "C8", "A8"),
    "steps down on reply": _promise("a leader that gets a reply with a higher term steps down", "A9", "A8", "E1", "C6"),
    "steps down on request": _promise("a leader that gets a request with a higher term steps down", "A9", "A8", "A20"),
    # Replication
    "agreement": _promise(
        "a command given to a leader with a majority is committed within 2 s, and delivered by every connected server",
        *("B15", "B26", "B13", "B1", "B3", "B4", "B2", "B19", "B14", "B27", "F10", "B24", "E9"),
    ),
    "index": _promise(
        "commands get consecutive indices, the first one 1", "B30", "B33", "L47", "H9", "H2", "B8", "B20"
    ),
    "not early": _promise("nothing is delivered before it is committed", "B10", "B28", "B9", "A16"),
    "majority": _promise(
        "a leader commits an entry only after a majority has acknowledged it", "B1", "B20", "B19", "A16", "B28", "E1"
    ),
    "minority": _promise("a leader without a majority commits nothing", "B28", "A16", "B1", "B10", "E5"),
    "same command": _promise(
        "all servers deliver the same command at the same index",
        *("B2", "A13", "B9", "B5", "B6", "B11", "E6", "B8", "B20", "B17"),
    ),
    "order": _promise(
        "every server delivers index after index, each once", "F8", "F25", "B32", "D11", "C12", "D17", "B8"
    ),
    "kept": _promise("a committed command is never lost", "B11", "C5", "A13", "B6", "B17", "E1", "C2"),
    "own term": _promise("a leader commits by counting replicas only entries of its own term (Figure 8)", "B11"),
    "once": _promise("a server becomes leader of a term once, whatever votes arrive later", "A18", "A25", "A17"),
    "asked twice": _promise("a vote that got lost is given again when its candidate asks again", "A15", "E7"),
    "told": _promise("who is refused for its old term learns the new one from the refusal", "A14", "A9", "A8"),
    "granted": _promise("who gave its vote waits for the candidate before it stands for election itself", "A4", "A2"),
    "drawn anew": _promise("every election timeout is drawn anew", "A6"),
    "patience": _promise("a message that is lost, or one that was refused, costs no election", "A7", "A2", "A22"),
    "announced": _promise("a new leader announces itself at once", "A19"),
    "followed": _promise("a candidate follows the leader of its term", "A20"),
    "elects": _promise("a server that hears no leader for a while starts an election", "A2", "A3", "E6", "A5", "H9"),
    "bytes": _promise("each command travels to each server about once", "B29", "B25", "E4", "B8"),
    "prompt": _promise(
        "a follower that refused is sent what it lacks at once, not with the next heartbeat", "B25", "B22"
    ),
    "saves": _promise("what did not change is not saved again", "C7"),
    "rpcs": _promise("a few RPCs are enough", "B29", "J1", "A18", "A25", "B25"),
    "no waiting": _promise("nothing waits for one RPC before the next is sent", "E9", "B13", "F9"),
    # Snapshots
    "small state": _promise("the saved state stays small once there are snapshots", "D1", "D18", "C11", "D16"),
    "snapshot": _promise(
        "a delivered snapshot is one that was taken, at the index it was taken at", "D11", "D9", "D5", "C10"
    ),
    "forward": _promise("a snapshot moves a server forward, never back", "D9", "D11", "E7"),
    "old snapshot": _promise("a snapshot that a leader of an old term sent is refused", "D8", "E6"),
    "saved snapshot": _promise("every save passes the current snapshot too", "C10", "C11", "D1"),
    # The interface
    "loads": _promise("the implementation can be imported and has a function make(peers, me, persister, apply)", "H1"),
    "no exception": _promise("no method raises, and no task of a server ends with an exception", "E2", "D4", "E9"),
    "types": _promise("arguments and results have the types of the interface", "H2", "H3", "H4"),
    "returns": _promise("every call returns: nothing spins or blocks", "F19", "F12", "E9"),
    "flood": _promise("a server sends no more RPCs than there is something to say", "B25", "F19", "A25", "J1"),
    "time": _promise("a test takes at most 120 s", "J4", "E9", "B13"),
    "memory": _promise("a server's memory stays bounded", "D16", "F19", "B25"),
    "killed": _promise("after kill() nothing is sent, saved or delivered", "E8", "F22", "H5"),
    "alive": _promise("a server ends when it is killed, and ends nothing else", "H5"),
    "alone": _promise("a server is an object in one process: it starts few others, and prints little", "H5", "F19"),
    "undisturbed": _promise(
        "a server leaves alone what is not its own: the loop, others' tasks, functions of other modules", "H9", "H5"
    ),
    "not itself": _promise("a server never calls itself", "H1"),
    # Services
    "raft's promises": _promise("Raft keeps its promises under the service", "B11", "A11", "C2", "F8"),
    "exactly once": _promise("a command counts once, however often it is sent", "G7", "G8", "G9", "G16", "G19", "G6"),
    "linearizable": _promise(
        "some order of all operations explains every answer", "G3", "G7", "G9", "G4", "G11", "G2", "G14"
    ),
    "progress": _promise("whoever reaches a majority of the servers is answered", "G5", "G13", "G10", "G11"),
    "no progress": _promise("without a majority nothing is answered", "G12", "G3", "G11", "G20"),
    "prompt service": _promise("a command waits for no heartbeat and no polling", "G13", "B29", "B26"),
    "slots": _promise("every slot is served by one group that is there, if any is", "G15", "G17"),
    "balanced": _promise("no two groups differ by more than one slot", "G17"),
    "fewest moves": _promise("no more slots change hands than have to", "G17"),
    "settles": _promise("every group takes every configuration and finishes what it asks for", "G15", "G18", "G5"),
    "given is gone": _promise("what a group gave away is deleted there", "G15", "G14"),
    "served meanwhile": _promise("slots that do not move, or have arrived, are served while others move", "G18", "G15"),
    "history kept": _promise("a configuration stays what it was, on every server", "G17", "G14", "G1"),
}

_IN_PART = {
    ("agreement", "2C"): ("C5", "C1", "B22", "C6", "B8", "B20"),
    ("agreement", "2D"): ("D6", "D5", "D4", "D15", "D14"),
    ("same command", "2C"): ("C5", "C6", "C3", "B11", "B7", "A13"),
    ("same command", "2D"): ("D4", "D5", "D10", "D14"),
    ("order", "2C"): ("B32", "C12", "F8"),
    ("order", "2D"): ("D17", "C12", "C10", "D11", "D4"),
    ("no exception", "2D"): ("D4", "D1", "D6", "D14", "C12"),
    ("leader", "2C"): ("C4", "C8"),
    ("leader", "2D"): ("D5",),
}
"""What is likelier in the tests of one part than in general."""


def rules_in(name: str, part: str) -> tuple[str, ...]:
    """Return the rules that usually stand behind a broken promise in the tests of `part`, likeliest first."""
    return tuple(dict.fromkeys((*_IN_PART.get((name, part), ()), *PROMISES[name].rules)))


class BrokenPromise(Exception):
    """A test failed: which promise, what was seen, and where; unknown places are None."""

    def __init__(
        self,
        name: str,
        seen: str,
        *,
        server: int | None = None,
        index: int | None = None,
        term: int | None = None,
        suspects: tuple[str, ...] = (),
    ) -> None:
        """`suspects` are rules to name before the promise's own: a test that aims at one rule knows it."""
        self.name = name
        self.promise = PROMISES[name]
        self.suspects = suspects
        self.rules = tuple(dict.fromkeys((*suspects, *self.promise.rules)))
        self.seen = seen
        self.server = server
        self.index = index
        self.term = term
        super().__init__(f"{self.promise.sentence}: {seen}")
