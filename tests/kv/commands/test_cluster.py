"""Commands about the cluster, beside the other commands of a connection."""

import asyncio
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from raftline.core.changes import AddLearner, Move, Promote, Remove, SetPriority
from raftline.errors import ChangeRefused, Overloaded, StorageError, Timeout
from raftline.kv.service import Service
from raftline.runtime.status import MemberStatus

if TYPE_CHECKING:
    from tests.kv.conftest import Conversation

    Encode = Callable[..., bytes]
    Converse = Callable[..., Conversation]

DATA = bytes(range(256)) * 10


class FakeBackup:
    """A backup whose bytes are given, a few at a time."""

    def __init__(self) -> None:
        self.meta = SimpleNamespace(index=7, term=2)
        self.size_bytes = len(DATA)
        self.closed = False

    async def read(self, offset: int) -> bytes:
        """Return a thousand bytes."""
        return DATA[offset : offset + 1000]

    def close(self) -> None:
        """Note it."""
        self.closed = True


class Talk:
    """A connection whose node gives backups, or raises, when the test lets it."""

    def __init__(self, conversation: "Conversation", request_of: "Encode") -> None:
        self.conversation = conversation
        self.backups: list[FakeBackup] = []
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.error: Exception | None = None
        self._request_of = request_of
        conversation.node.open_backup = self._open  # type: ignore[method-assign]

    async def _open(self) -> Any:
        await self.go_on.wait()
        if self.error is not None:
            raise self.error
        self.backups.append(FakeBackup())
        return self.backups[-1]

    async def ask(self, *words: str) -> bytes:
        """Send a command and return all output once nothing is under way."""
        output = self.conversation.send(self._request_of(*(word.encode() for word in words)))
        return output + await self.rest()

    async def rest(self) -> bytes:
        """Return what comes when the tasks had their turns."""
        output = b""
        for _ in range(20):
            await asyncio.sleep(0)
            output += self.conversation.take()
        return output


Scenario = Callable[[Talk], Awaitable[None]]
Run = Callable[[Scenario], None]


@pytest.fixture
def run(conversation: "Conversation", request_of: "Encode") -> Run:
    """Return a function that runs a scenario."""

    def run_scenario(scenario: Scenario) -> None:
        async def main() -> None:
            await scenario(Talk(conversation, request_of))

        asyncio.run(main())

    return run_scenario


def test_a_backup_is_fetched_in_pieces(run: Run) -> None:
    """BEGIN says how much there is, READ gives it from any offset, END lets go."""

    async def scenario(talk: Talk) -> None:
        begun = await talk.ask("RAFTLINE.BACKUP", "BEGIN")
        assert begun == (
            b"*8\r\n$6\r\nbackup\r\n:1\r\n$4\r\nsize\r\n:2560\r\n$5\r\nindex\r\n:7\r\n$4\r\nterm\r\n:2\r\n"
        )
        assert await talk.ask("raftline.backup", "read", "1", "2000") == b"$560\r\n" + DATA[2000:] + b"\r\n"
        assert await talk.ask("RAFTLINE.BACKUP", "READ", "1", "2560") == b"$0\r\n\r\n"
        assert await talk.ask("RAFTLINE.BACKUP", "END", "1") == b"+OK\r\n"
        assert talk.backups[0].closed
        assert b"no such backup" in await talk.ask("RAFTLINE.BACKUP", "READ", "1", "0")

    run(scenario)


def test_what_makes_no_sense_is_refused(run: Run) -> None:
    """Numbers that are none, offsets before the beginning, more backups than anybody needs."""

    async def scenario(talk: Talk) -> None:
        assert b"not an integer" in await talk.ask("RAFTLINE.BACKUP", "READ", "x", "0")
        assert b"no such backup on this connection" in await talk.ask("RAFTLINE.BACKUP", "END", "1")
        for _ in range(4):
            await talk.ask("RAFTLINE.BACKUP", "BEGIN")
        assert b"out of range" in await talk.ask("RAFTLINE.BACKUP", "READ", "4", "-1")
        assert b"this connection reads 4 backups: end one first" in await talk.ask("RAFTLINE.BACKUP", "BEGIN")

    run(scenario)


def test_commands_behind_a_task_wait_for_it(run: Run, request_of: "Encode") -> None:
    """They may depend on it; the task itself waits for what was sent before it."""

    async def scenario(talk: Talk) -> None:
        talk.go_on.clear()
        node = talk.conversation.node
        sent = [request_of(b"SET", b"a", b"1"), request_of(b"RAFTLINE.BACKUP", b"BEGIN"), request_of(b"PING")]
        assert talk.conversation.send(b"".join(sent)) == b""
        talk.go_on.set()
        assert await talk.rest() == b""
        assert talk.backups == []
        talk.go_on.clear()
        node.answer()
        assert await talk.rest() == b"+OK\r\n"
        talk.go_on.set()
        answer = await talk.rest()
        assert answer.startswith(b"*8\r\n")
        assert answer.endswith(b"+PONG\r\n")

    run(scenario)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (Timeout("nobody there", may_take_effect=False), b"-CLUSTERDOWN no quorum could be reached (nobody there)"),
        (Overloaded("too much waits"), b"-TRYAGAIN too much waits"),
        (StorageError("the disk is full"), b"-ERR the disk is full"),
        (ValueError("a bug"), b"-ERR internal error"),
    ],
)
def test_failures_are_answered(run: Run, error: Exception, words: bytes) -> None:
    """And the connection goes on."""

    async def scenario(talk: Talk) -> None:
        talk.error = error
        assert (await talk.ask("RAFTLINE.BACKUP", "BEGIN")).startswith(words)
        assert await talk.ask("PING") == b"+PONG\r\n"

    run(scenario)


def test_a_client_that_leaves_lets_go_of_everything(run: Run, service: Service) -> None:
    """Open backups are closed, and a task under way is given up."""

    async def scenario(talk: Talk) -> None:
        await talk.ask("RAFTLINE.BACKUP", "BEGIN")
        talk.go_on.clear()
        await talk.ask("RAFTLINE.BACKUP", "BEGIN")
        service.disconnect(talk.conversation.connection)
        assert talk.backups[0].closed
        talk.go_on.set()
        assert await talk.rest() == b""
        assert len(talk.backups) == 1

    run(scenario)


def test_silence_is_kept(run: Run) -> None:
    """CLIENT REPLY OFF goes for tasks, too."""

    async def scenario(talk: Talk) -> None:
        assert await talk.ask("CLIENT", "REPLY", "OFF") == b""
        assert await talk.ask("RAFTLINE.BACKUP", "BEGIN") == b""
        assert await talk.ask("CLIENT", "REPLY", "ON") == b"+OK\r\n"
        assert len(talk.backups) == 1

    run(scenario)


def test_changes_of_the_membership_reach_the_node(run: Run) -> None:
    """Names and addresses are checked and written in full before anybody is asked."""

    async def scenario(talk: Talk) -> None:
        for words in (
            "ADD n4 127.0.0.1:7004", "add n5 h:1@2 learner", "REMOVE n2", "PROMOTE n4", "MOVE n1 h:3", "PRIORITY n1 -5",
        ):  # fmt: skip
            assert await talk.ask("RAFTLINE.MEMBER", *words.split()) == b"+OK\r\n"
        assert talk.conversation.node.changes == [
            AddLearner("n4", "127.0.0.1:7004@17004", promote=True),
            AddLearner("n5", "h:1@2", promote=False),
            Remove("n2"),
            Promote("n4"),
            Move("n1", "h:3@10003"),
            SetPriority("n1", -5),
        ]
        assert await talk.ask("RAFTLINE.TRANSFER") == b"+OK\r\n"
        assert await talk.ask("RAFTLINE.TRANSFER", "n2") == b"+OK\r\n"
        assert talk.conversation.node.transfers == [None, "n2"]

    run(scenario)


@pytest.mark.parametrize(
    ("words", "reply"),
    [
        ("ADD n4 nowhere", b"-ERR address 'nowhere': the port is missing"),
        ("ADD n=4 h:1", b"-ERR 'n=4' is no name"),
        ("ADD n4 h:1 VOTER", b"-ERR syntax error: RAFTLINE.MEMBER ADD id host:port"),
        ("ADD n4 h:1 LEARNER now", b"-ERR syntax error"),
        ("PRIORITY n1 high", b"-ERR value is not an integer"),
        ("ADD n4", b"-ERR wrong number of arguments for 'raftline.member|add'"),
        ("RENAME n4", b"-ERR unknown subcommand"),
    ],
)
def test_what_is_written_wrongly_is_refused_at_once(run: Run, words: str, reply: bytes) -> None:
    """No node is asked."""

    async def scenario(talk: Talk) -> None:
        assert (await talk.ask("RAFTLINE.MEMBER", *words.split())).startswith(reply)
        assert talk.conversation.node.changes == []

    run(scenario)


def test_the_leaders_refusal_is_the_answer(run: Run) -> None:
    """In its own words."""

    async def scenario(talk: Talk) -> None:
        async def refuse(_: object) -> None:
            raise ChangeRefused("a change is in progress: one at a time")

        talk.conversation.node.change_membership = refuse  # type: ignore[method-assign, assignment]
        assert await talk.ask("RAFTLINE.MEMBER", "REMOVE", "n2") == b"-ERR a change is in progress: one at a time\r\n"

    run(scenario)


def test_members_are_listed_as_this_node_knows_them(conversation: "Conversation", request_of: "Encode") -> None:
    """Id, address, vote, role and lag; what is not known is null."""
    status = conversation.node.status()
    members = (
        MemberStatus(node_id="n1", address="h:1@2", voter=True, role="leader", match_index=5, lag_entries=0,
                     heard_s_ago=None, mode=None),
        MemberStatus(node_id="n2", address="h:3@4", voter=False, role=None, match_index=None, lag_entries=None,
                     heard_s_ago=None, mode=None),
    )  # fmt: skip
    shown = msgspec.structs.replace(status, members=members)
    conversation.node.status = lambda: shown  # type: ignore[method-assign]
    reply = conversation.send(request_of(b"HELLO", b"3") + request_of(b"RAFTLINE.MEMBER", b"LIST"))
    assert reply.endswith(
        b"*2\r\n%5\r\n$2\r\nid\r\n$2\r\nn1\r\n$7\r\naddress\r\n$5\r\nh:1@2\r\n$5\r\nvoter\r\n:1\r\n"
        b"$4\r\nrole\r\n$6\r\nleader\r\n$3\r\nlag\r\n:0\r\n"
        b"%5\r\n$2\r\nid\r\n$2\r\nn2\r\n$7\r\naddress\r\n$5\r\nh:3@4\r\n$5\r\nvoter\r\n:0\r\n"
        b"$4\r\nrole\r\n_\r\n$3\r\nlag\r\n_\r\n"
    )
