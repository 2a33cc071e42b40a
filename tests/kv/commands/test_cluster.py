"""RAFTLINE.BACKUP as commands, beside the other commands of a connection."""

import asyncio
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from raftline.errors import Overloaded, StorageError, Timeout
from raftline.kv.service import Service

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
