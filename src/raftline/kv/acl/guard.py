"""At the door of each command: is somebody logged in, and may they do this? One guard per server.

Rights are compiled when a user is first seen and when the users changed; a connection whose user may do everything
asks once per turn, not once per command.
"""

from collections.abc import Mapping
from typing import Final

from raftline.kv.acl.denials import Denials
from raftline.kv.acl.rights import ALWAYS_ALLOWED, Denial, Rights
from raftline.kv.acl.users import Users
from raftline.kv.client import Client
from raftline.kv.commands.command import Arguments, Command
from raftline.kv.memory import MemoryLimit
from raftline.kv.resp.replies import error

__all__ = ["Guard", "denial_text"]

_NOT_LOGGED_IN: Final = error("NOAUTH Authentication required.")
_DELETED: Final = error("NOAUTH the user of this connection was deleted")
_NO_COMMAND: Final = "this user has no permissions to run the '{0}' command"
_NO_CHANNEL: Final = "this user has no permissions to access one of the channels used as arguments"
_NO_KEY: Final = "this user has no permissions to access one of the keys used as arguments"


_LISTENING: Final = frozenset(
    {"subscribe", "unsubscribe", "psubscribe", "punsubscribe", "ssubscribe", "sunsubscribe", "ping", "quit", "reset"}
)
_ONLY_LISTENS: Final = (
    "ERR Can't execute '{0}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context"
)


class Guard:
    """Invariant: `_compiled` holds nothing that is older than `_version`."""

    __slots__ = ("_commands", "_compiled", "_memory", "_users", "_version", "denials")

    def __init__(self, users: Users, commands: Mapping[bytes, Command], memory: MemoryLimit) -> None:
        self._memory = memory
        self._users = users
        self._commands = commands
        self._compiled: dict[bytes, Rights | None] = {}
        self._version = 0
        self.denials = Denials()
        """For ACL LOG."""

    def is_free(self, client: Client) -> bool:
        """Say whether nothing has to be asked about this client's commands in this turn."""
        if self._users.version != self._version or client.user not in self._compiled:
            may_everything = self._may_everything(client)
        else:  # what `_may_everything` says, too; this is asked for every command
            may_everything = client.is_authenticated and self._compiled[client.user] is None and not client.only_listens
        return may_everything and not self._memory.is_exceeded

    def _may_everything(self, client: Client) -> bool:
        """Say so of its user, until the users change."""
        if self._users.version != self._version:
            self._compiled = {}
            self._version = self._users.version
        if not client.is_authenticated:
            return False
        if client.user not in self._compiled:
            user = self._users.named(client.user)
            if user is None:
                return False
            self._compiled[client.user] = None if user.is_free else Rights(user, self._commands)
        return self._compiled[client.user] is None and not client.only_listens

    def refusal(self, client: Client, command: Command, args: Arguments) -> bytes | None:
        """Return the reply to what the client may not do, or this node not now; a refusal by right goes to ACL LOG."""
        if client.only_listens and command.name not in _LISTENING:
            return error(_ONLY_LISTENS.format(command.name))
        return self._refusal_by_right(client, command, args) or self._refusal_for_memory(client, command)

    def _refusal_for_memory(self, client: Client, command: Command) -> bytes | None:
        if not self._memory.is_exceeded:
            return None
        transaction, flags = client.transaction, set(command.flags)
        is_open = transaction is not None and transaction.is_open
        if transaction is not None and command.name == "exec":
            flags.update(*(plan.command.flags for plan, _ in transaction.queued))
        return self._memory.refusal(command.name, flags, in_transaction=is_open)

    def _refusal_by_right(self, client: Client, command: Command, args: Arguments) -> bytes | None:
        if command.name in ALWAYS_ALLOWED or self._may_everything(client):
            return None
        if not client.is_authenticated:
            return _NOT_LOGGED_IN
        if client.user not in self._compiled:
            client.closing = True
            return _DELETED
        rights = self._compiled[client.user]
        denial = None if rights is None else self._noted(client, rights, command, args)
        return None if denial is None else error("NOPERM " + denial_text(denial))

    def denial(self, client: Client, command: Command, args: Arguments) -> str | None:
        """Return the reason, as in `Denial`, why a client may not do what it was allowed to queue; None if it may.

        A refusal goes to ACL LOG; of a user that is gone all commands are.
        """
        if self.is_free(client):
            return None
        if client.user not in self._compiled:
            return "command"
        rights = self._compiled[client.user]
        denial = None if rights is None else self._noted(client, rights, command, args)
        return None if denial is None else denial.reason

    def _noted(self, client: Client, rights: Rights, command: Command, args: Arguments) -> Denial | None:
        denial = rights.denial(command, args)
        if denial is not None:
            self.denials.note(denial.reason, denial.object, client.user, client.server.now_ms(), client.line())
        return denial


def denial_text(denial: Denial) -> str:
    """Return what a client is told."""
    if denial.reason == "channel":
        return _NO_CHANNEL
    return _NO_KEY if denial.reason == "key" else _NO_COMMAND.format(denial.object.decode())
