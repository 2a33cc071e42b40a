"""The door of transactions: what may be queued, and what goes into the one entry of the log that EXEC proposes.

Each command is looked up, counted and checked when it is queued, in Redis's order and words, and its permission again
at EXEC. What the store carries out goes into the entry; what concerns the connection alone, such as PING, is answered
here when the entry's reply comes.
"""

from collections.abc import Callable
from typing import NamedTuple

import msgspec

from raftline.kv.answers import local_reply
from raftline.kv.client import Client
from raftline.kv.commands.command import Arguments, Deferred, Refused, Settled, Unsettled
from raftline.kv.commands.lookup import EXEC_NAME
from raftline.kv.commands.transactions import decode_watched, encode_watched, is_inside
from raftline.kv.limits import Limits
from raftline.kv.machine import encode_command
from raftline.kv.plans import (
    PLANS,
    Plan,
    Versioned,
    arity_refusal,
    find_plan,
    size_refusal,
    unknown_refusal,
    version_refusal,
)
from raftline.kv.reply_slots import published_reply
from raftline.kv.resp.items import items_of
from raftline.kv.resp.replies import EMPTY_ARRAY, NULL_ARRAY, array, error, simple
from raftline.kv.transaction import Transaction

__all__ = ["Entry", "new_entry", "queue"]

_QUEUED = simple("QUEUED")
_AT_ONCE = frozenset({"exec", "discard", "multi", "watch", "quit", "reset"})
_CONCERNS_REPLIES = frozenset(
    {"auth", "hello", "readonly", "readwrite", "client|reads", "client|reply"}
    | {"subscribe", "psubscribe", "ssubscribe", "unsubscribe", "punsubscribe", "sunsubscribe"}
)
_WATCH_INSIDE = error("ERR WATCH inside MULTI is not allowed")
_NOT_INSIDE = error("ERR Command not allowed inside a transaction")
_WITHOUT_MULTI = error("ERR EXEC without MULTI")
_BROKEN = error("EXECABORT Transaction discarded because of previous errors.")
_WATCH_FAILED = error("EXECABORT Transaction discarded because WATCH did not succeed.")
_CHANGED_RULES = (
    "NOPERM ACLs rules changed between the moment the transaction was accumulated and the EXEC call. "
    "This command is no longer allowed for the following reason: "
)
_REASONS = {
    "command": error(_CHANGED_RULES + "no permission to execute the command or subcommand"),
    "key": error(_CHANGED_RULES + "no permission to touch the specified keys"),
    "channel": error(_CHANGED_RULES + "no permission to access one of the channels used as arguments"),
}
_ABORTED = "EXECABORT Transaction discarded because of: "
_MALFORMED = error("ERR RAFTLINE.EXEC takes MessagePack: watched keys as [[key, mark], ...], commands as [name, ...]")
_WATCH = PLANS[b"WATCH"].command

_decode_command = msgspec.msgpack.Decoder(list[bytes]).decode


class Place(NamedTuple):
    """One command of a transaction."""

    command: bytes | None
    """As it stands in the log; None if the store has nothing to do with it."""
    answer: Callable[[bytes], bytes] | None
    """Makes the reply of the store's; None if it is that."""


class Entry(NamedTuple):
    """What EXEC proposes, if anything, and what makes the client's reply of the outcome."""

    command: bytes | None
    finish: Callable[[bytes], bytes]


def queue(
    client: Client, plan: Plan | None, args: Arguments, limits: Limits, *, is_large: bool, node: Versioned
) -> bytes | None:
    """Return the reply to a command that comes behind MULTI; None for those that are carried out at once.

    `node` tells which commands every member knows.
    """
    transaction = client.transaction
    if transaction is None or not transaction.is_open:
        return None
    refusal = _refusal(client, plan, args, limits, is_large=is_large)
    if refusal is None and plan is not None:
        refusal = version_refusal(plan, args, node)
    if refusal is None:
        assert plan is not None, "it was found"
        if plan.name in _AT_ONCE:
            return _WATCH_INSIDE if plan.bound is not None else None
        refusal = _limit_refusal(transaction, plan, args, limits) if _may_be_inside(plan) else _NOT_INSIDE
        if refusal is None:
            transaction.add(plan, args)
            return _QUEUED
    elif plan is not None and plan.name == "exec":
        client.transaction = None
        return refusal if refusal.startswith(b"-EXECABORT") else error(_ABORTED + refusal[1:].decode().strip())
    transaction.break_()
    return refusal


def new_entry(client: Client, args: Arguments, limits: Limits, *, is_large: bool) -> Entry:
    """Return what EXEC, or RAFTLINE.EXEC with arguments, proposes, or is told at once."""
    try:
        return _of_request(client, args, limits, is_large=is_large) if len(args) > 1 else _of_queue(client, limits)
    except Refused as refused:
        reply = refused.reply
        return Entry(None, lambda _nothing: reply)


def _of_queue(client: Client, limits: Limits) -> Entry:
    """Close the client's transaction and return what is in it."""
    transaction = client.transaction
    if transaction is None or not transaction.is_open:
        raise Refused(_WITHOUT_MULTI)
    client.transaction = None
    if transaction.is_broken:
        raise Refused(_BROKEN)
    if transaction.size_bytes > limits.transaction_bytes_max:
        raise Refused(_too_long(limits))
    watched: list[tuple[bytes, int]] = []
    for key, mark in transaction.watched.items():
        if mark is None:
            raise Refused(_WATCH_FAILED)
        watched.append((key, mark))
    is_free = client.server.guard.is_free(client)
    places = [_place(client, plan, args, is_free=is_free) for plan, args in transaction.queued]
    commands = [place.command for place in places if place.command is not None]
    if not commands and not watched:
        return Entry(None, lambda _nothing: _filled(EMPTY_ARRAY, places))
    is_plain = all(place.answer is None for place in places)
    finish = _as_it_is if is_plain else lambda outcome: _filled(outcome, places)
    return Entry(encode_command([EXEC_NAME, encode_watched(watched), *commands]), finish)


def _of_request(client: Client, args: Arguments, limits: Limits, *, is_large: bool) -> Entry:
    """Return what is in `RAFTLINE.EXEC history watched command ...`."""
    try:
        watched = decode_watched(args[2])
        requests = [_decode_command(command) for command in args[3:]]
    except msgspec.MsgspecError:
        raise Refused(_MALFORMED) from None
    if watched and args[1] != client.server.status().cluster_id.encode():
        return Entry(None, lambda _nothing: NULL_ARRAY)  # marks of another history mean nothing here: take new ones
    if watched and (refusal := client.server.guard.refusal(client, _WATCH, [b"WATCH", *[key for key, _ in watched]])):
        raise Refused(refusal)
    if len(requests) > limits.transaction_commands_max:
        raise Refused(_too_many(limits))
    if len(watched) + sum(map(len, requests)) > limits.transaction_args_max:
        raise Refused(_too_many_args(limits))
    if sum(map(len, args[2:])) > limits.transaction_bytes_max:
        raise Refused(_too_long(limits))
    walks = 0
    commands: list[bytes] = []
    for request in requests:
        plan = _plan_inside(client, request, limits, is_large=is_large)
        walks += plan.command.may_walk_all
        if walks > limits.transaction_walks_max:
            raise Refused(_too_many_walks(limits))
        commands.append(encode_command([plan.wire_name, *request[1:]]))
    return Entry(encode_command([EXEC_NAME, args[2], *commands]), _as_it_is)


def _plan_inside(client: Client, request: Arguments, limits: Limits, *, is_large: bool) -> Plan:
    """Return the plan for one command of a transaction in a request; raises `Refused`."""
    plan = (PLANS.get(request[0]) or find_plan(request)) if request else None
    refusal = _refusal(client, plan, request, limits, is_large=is_large) if request else _MALFORMED
    if refusal is not None:
        raise Refused(refusal)
    if plan is None or not is_inside(plan.command):
        raise Refused(_NOT_INSIDE)
    return plan


def _refusal(client: Client, plan: Plan | None, args: Arguments, limits: Limits, *, is_large: bool) -> bytes | None:
    """Return the reply to a command that would be refused outside a transaction, too."""
    if plan is None:
        return unknown_refusal(args)
    if not plan.args_min <= len(args) <= plan.args_max:
        return arity_refusal(plan)
    refusal = client.server.guard.refusal(client, plan.command, args)
    if refusal is None and (is_large or plan.is_looked_at):
        refusal = size_refusal(plan, args, limits)
    return refusal


def _may_be_inside(plan: Plan) -> bool:
    if plan.local is not None:
        return plan.name not in _CONCERNS_REPLIES
    return is_inside(plan.command)


def _limit_refusal(transaction: Transaction, plan: Plan, args: Arguments, limits: Limits) -> bytes | None:
    if len(transaction.queued) >= limits.transaction_commands_max:
        return _too_many(limits)
    if transaction.args_count + len(args) > limits.transaction_args_max:
        return _too_many_args(limits)
    if transaction.size_bytes + sum(map(len, args)) > limits.transaction_bytes_max:
        return _too_long(limits)
    if plan.command.may_walk_all and transaction.walks >= limits.transaction_walks_max:
        return _too_many_walks(limits)
    return None


def _too_many(limits: Limits) -> bytes:
    return error(f"ERR a transaction of more than {limits.transaction_commands_max} commands")


def _too_many_args(limits: Limits) -> bytes:
    return error(f"ERR the commands of a transaction have together more than {limits.transaction_args_max} arguments")


def _too_many_walks(limits: Limits) -> bytes:
    walks_max = limits.transaction_walks_max
    return error(
        f"ERR a transaction with more than {walks_max} of KEYS, SCAN and RAFTLINE.LOCK LIST, which look at many keys"
    )


def _too_long(limits: Limits) -> bytes:
    bytes_max = limits.transaction_bytes_max
    return error(f"ERR commands and watched keys of a transaction are together above {bytes_max} bytes")


def _place(client: Client, plan: Plan, args: Arguments, *, is_free: bool) -> Place:
    """Return how a command stands in the log, if it does, and what makes its reply of the store's."""
    denial = None if is_free else client.server.guard.denial(client, plan.command, args)
    if denial is not None:
        return Place(None, lambda _nothing: _REASONS[denial])
    local = plan.local
    if local is None:
        command = encode_command([plan.wire_name, *args[1:]])
        if plan.slot is None:
            return Place(command, None)
        return Place(command, lambda _sent: published_reply(client, args))

    def answer(_nothing: bytes) -> bytes:
        try:
            return local_reply(local, client, args)
        except Unsettled:
            return local_reply(local, client, Settled(args))
        except Deferred:
            return _NOT_INSIDE

    return Place(None, answer)


def _as_it_is(outcome: bytes) -> bytes:
    return outcome


def _filled(outcome: bytes, places: list[Place]) -> bytes:
    """Return the reply to EXEC: what the store answered, and between that what is answered here."""
    if outcome[:1] != b"*":
        return outcome
    items = iter(items_of(outcome))
    replies = []
    for place in places:
        item = b"" if place.command is None else next(items)
        replies.append(item if place.answer is None else place.answer(item))
    return array(replies)
