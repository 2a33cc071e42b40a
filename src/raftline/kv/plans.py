"""What a connection needs to know of a command, laid out for speed and found by its first arguments."""

from typing import Protocol

from raftline.errors import NotMember
from raftline.kv.blocked import waiting_task
from raftline.kv.bundles import BUNDLED, BUNDLED_ARGS_MAX
from raftline.kv.commands.command import Arguments, Check, Command, LocalFunction, ReadFunction, TaskFunction
from raftline.kv.commands.costs import REPEATS, repeats_refusal
from raftline.kv.commands.glob import PATTERN_BYTES_MAX, TOO_LONG
from raftline.kv.commands.lookup import find_command
from raftline.kv.commands.strings import SET_PLAIN
from raftline.kv.commands.table import COMMANDS
from raftline.kv.limits import Limits
from raftline.kv.refusals import write_refusal
from raftline.kv.reply_slots import Published
from raftline.kv.resp.replies import error, shown

__all__ = [
    "PLANS",
    "TOO_NEW",
    "Plan",
    "Versioned",
    "arity_refusal",
    "find_plan",
    "may_share",
    "size_refusal",
    "unknown_refusal",
    "unsuitable_refusal",
    "version_refusal",
]

_ANY_NUMBER = 1 << 62
TOO_NEW = error(
    "TRYAGAIN not every member knows this command yet, upgrade the others first (the command was not taken)"
)
_EXEC_ALONE = error("EXECABORT Transaction discarded because of: wrong number of arguments for 'exec' command")
_HTTP_WORDS = frozenset({b"POST", b"HOST:"})
_SHOWN_BYTES_MAX = 128
_CONDITIONS_VERSION = 2
_FEW = 64  # arguments, among which nothing is repeated often
_AFTER_ALL_BEFORE = frozenset({"auth", "hello", "reset", "readonly", "readwrite", "client|reads"})

_SLOTS = {"publish": Published, "spublish": Published}


class Plan:
    """One row of the command table, as it is carried out; one of its functions is set unless it wraps a command."""

    __slots__ = (
        "after_all",
        "args_max",
        "args_min",
        "bound",
        "check",
        "command",
        "executes",
        "is_bundled",
        "is_looked_at",
        "local",
        "may_repeat",
        "name",
        "patterns",
        "read",
        "read_args_max",
        "shared_args_max",
        "slot",
        "task",
        "waits",
        "wire_name",
        "write",
    )

    def __init__(self, command: Command) -> None:
        self.command = command
        self.name = command.name
        self.wire_name = command.wire_name
        self.args_min = abs(command.arity)
        self.args_max = command.arity if command.arity >= 0 else _ANY_NUMBER
        self.waits = "blocking" in command.flags
        """It waits until it can write something."""
        self.write = command.write is not None and not self.waits
        self.read: ReadFunction | None = command.read
        self.slot: type[Published] | None = _SLOTS.get(command.name)
        """Where its reply is kept, if not in a `Write`."""
        self.bound = command.bound
        self.executes = command.execute is not None
        self.local: LocalFunction | None = command.local
        self.task: TaskFunction | None = waiting_task(command) if self.waits else command.task
        self.check: Check | None = command.check
        self.patterns = command.patterns
        """Which arguments, from this one on, are patterns; 0 if there are none."""
        self.may_repeat = command.name in REPEATS
        """It may look at one value many times."""
        self.is_looked_at = bool(self.patterns) or self.may_repeat
        """`size_refusal` has to look, however short the request."""
        self.is_bundled = command.name in BUNDLED
        """It may share an entry of the log with others; see `may_share`."""
        self.shared_args_max = _shared_args_max(self)
        """With up to so many arguments, and `args_min`, it is proposed without a further look; 0 if one is needed."""
        self.after_all = command.name in _AFTER_ALL_BEFORE or self.task is not None
        """It changes how commands are answered, or the cluster, so those before it have to be out first."""
        is_plain_read = self.read is not None and not self.write and not self.is_looked_at
        self.read_args_max = self.args_max if is_plain_read else 0
        """With up to so many arguments, and `args_min`, it is read without a further look; 0 if one is needed."""


def _shared_args_max(plan: Plan) -> int:
    if not plan.is_bundled or plan.slot is not None or plan.is_looked_at:
        return 0
    if plan.name == "set":
        return SET_PLAIN
    return 0 if plan.check is not None else min(plan.args_max, BUNDLED_ARGS_MAX)


_OF_COMMAND = {row.name: Plan(row) for command in COMMANDS.values() for row in (command, *command.subcommands)}

PLANS: dict[bytes, Plan] = {
    name: _OF_COMMAND[command.name]
    for upper, command in COMMANDS.items()
    if not command.subcommands
    for name in (upper, upper.lower())
}
"""Commands without subcommands, in upper and in lower case; `find_plan` finds the others."""


def find_plan(args: Arguments) -> Plan | None:
    """Return the plan for a command in any case, None for an unknown command or subcommand."""
    command = find_command(args)
    if command is None or (command.subcommands and len(args) > 1):
        return None
    return _OF_COMMAND[command.name]


def may_share(plan: Plan, args: Arguments) -> bool:
    """Say whether a write may share an entry of the log with others: it is short, and so is its reply."""
    if not plan.is_bundled or len(args) > BUNDLED_ARGS_MAX:
        return False
    return len(args) <= SET_PLAIN or plan.name != "set" or not _returns_old(args)


def _returns_old(args: Arguments) -> bool:
    return any(arg.upper() == b"GET" for arg in args[SET_PLAIN:])


def unknown_refusal(args: Arguments) -> bytes:
    """Return the reply to a command, or subcommand, that is not in the table."""
    command = find_command(args)
    if command is not None:
        return error(f"ERR unknown subcommand '{shown(args[1], _SHOWN_BYTES_MAX)}'. Try {command.name.upper()} HELP.")
    begin = b""
    for arg in args[1:]:
        if len(begin) >= _SHOWN_BYTES_MAX:
            break
        begin += b"'%b' " % arg.partition(b"\0")[0][: _SHOWN_BYTES_MAX - len(begin)]
    name = shown(args[0], _SHOWN_BYTES_MAX)
    return error(f"ERR unknown command '{name}', with args beginning with: {shown(begin)}")


def arity_refusal(plan: Plan) -> bytes:
    """Return the reply to too many or too few arguments."""
    if plan.name == "exec":
        return _EXEC_ALONE
    return error(f"ERR wrong number of arguments for '{plan.name}' command")


def unsuitable_refusal(plan: Plan | None, args: Arguments) -> bytes | None:
    """Return the reply to a command that is not there, or has too many or too few arguments; None to HTTP."""
    if plan is not None:
        return arity_refusal(plan)
    return None if args[0].upper() in _HTTP_WORDS else unknown_refusal(args)


def size_refusal(plan: Plan, args: Arguments, limits: Limits) -> bytes | None:
    """Return the reply to keys, values or patterns that are too large, or too often there; None if there are none."""
    keys = plan.command.keys_in(args)
    if plan.may_repeat and len(args) > _FEW and (refusal := repeats_refusal(plan.command, args)):
        return refusal
    first_pattern = plan.patterns or len(args)
    for position, arg in enumerate(args):
        if position in keys:
            if len(arg) > limits.key_bytes_max:
                return error(f"ERR a key of {len(arg)} bytes is above the limit of {limits.key_bytes_max}")
        elif position >= first_pattern:
            if len(arg) > PATTERN_BYTES_MAX:
                return error(f"ERR {TOO_LONG.format(len(arg))}")
        elif len(arg) > limits.value_bytes_max:
            return error(f"ERR a value of {len(arg)} bytes is above the limit of {limits.value_bytes_max}")
    return None


class Versioned(Protocol):
    """A node that knows which commands the members of its group know, if it is one of them."""

    @property
    def command_version(self) -> int:
        """Return the newest version of commands that every member knows."""

    def outside(self) -> NotMember | None:
        """Return what to tell clients of a node that is no member, None of one that is."""


def version_refusal(plan: Plan, args: Arguments, node: Versioned) -> bytes | None:
    """Return the reply to what a member could not carry out, as far as this node knows, or None.

    Who was removed does not hear what the members know by now: that is what its clients are told.
    """
    command = plan.command
    needed = command.version
    if command.newer_options and not command.newer_options.isdisjoint([arg.upper() for arg in args[3:]]):
        needed = _CONDITIONS_VERSION
    if needed <= node.command_version:
        return None
    outside = node.outside()
    return TOO_NEW if outside is None else write_refusal(outside)
