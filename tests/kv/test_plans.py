"""From arguments to what is done with them."""

from typing import TYPE_CHECKING

import pytest

from raftline.kv.commands.table import COMMANDS
from raftline.kv.limits import Limits
from raftline.kv.plans import PLANS, arity_refusal, find_plan, size_refusal, unknown_refusal

if TYPE_CHECKING:
    from tests.kv.conftest import Conversation


def test_any_case_finds_the_same_plan() -> None:
    """Names are found in upper, lower and mixed case."""
    assert PLANS[b"GET"] is PLANS[b"get"] is find_plan([b"gEt", b"k"])
    assert find_plan([b"nosuch"]) is None


def test_every_command_has_a_plan() -> None:
    """Each row of the table can be reached, subcommands through their container."""
    for command in COMMANDS.values():
        plan = find_plan([command.name.encode()])
        assert plan is not None
        assert plan.command is command
        for row in command.subcommands:
            plan = find_plan([name.encode() for name in row.name.split("|")])
            assert plan is not None
            assert plan.command is row


def test_an_unknown_subcommand_has_none() -> None:
    """The refusal says where to look."""
    args = [b"CLIENT", b"foo"]
    assert find_plan(args) is None
    assert unknown_refusal(args) == b"-ERR unknown subcommand 'foo'. Try CLIENT HELP.\r\n"


def test_refusals_quote_little() -> None:
    """However long the arguments, an error stays short."""
    reply = unknown_refusal([b"x" * 10_000, b"y" * 10_000, b"z" * 10_000])
    assert len(reply) < 400
    plan = PLANS[b"GET"]
    assert arity_refusal(plan) == b"-ERR wrong number of arguments for 'get' command\r\n"


def test_keys_and_values_have_limits_of_their_own() -> None:
    """Keys are measured by one limit, all other arguments by another."""
    limits = Limits(key_bytes_max=10, value_bytes_max=20)
    plan = PLANS[b"MSET"]
    assert size_refusal(plan, [b"MSET", b"k" * 10, b"v" * 20], limits) is None
    assert b"a key of 11 bytes" in (size_refusal(plan, [b"MSET", b"k", b"v", b"k" * 11, b"v"], limits) or b"")
    assert b"a value of 21 bytes" in (size_refusal(plan, [b"MSET", b"k", b"v" * 21], limits) or b"")
    assert size_refusal(PLANS[b"PING"], [b"PING", b"v" * 20], limits) is None


@pytest.mark.parametrize(
    "text",
    [
        *("KEYS {}", "SCAN 0 MATCH {}", "HSCAN k 0 MATCH {}", "SSCAN k 0 COUNT 5 MATCH {}", "ZSCAN k 0 MATCH {}"),
        *("RAFTLINE.LOCK LIST 0 MATCH {}", "RAFTLINE.ONCE 1 1 KEYS {}", "CONFIG GET maxmemory {}", "PSUBSCRIBE a* {}"),
        *("PUBSUB CHANNELS {}", "PUBSUB SHARDCHANNELS {}", "COMMAND LIST FILTERBY PATTERN {}"),
        *("ACL SETUSER me ~{}", "ACL SETUSER me %R~{}", "ACL SETUSER me resetchannels &{}"),
    ],
)
def test_long_patterns_are_refused_before_anything_is_made_of_them(conversation: "Conversation", text: str) -> None:
    """Whatever command has one; a pattern of 1 KiB is taken."""
    long = conversation.ask(*text.format("*" * 1025).encode().split())
    assert long.startswith(b"-ERR ")
    assert b"a pattern of 1025 bytes is above the limit of 1024" in long
    assert conversation.node.log == []
    assert not conversation.ask(*text.format("*" * 1024).encode().split()).startswith(b"-")


@pytest.mark.parametrize("form", ["ZUNION {}", "ZUNIONSTORE d {}", "ZINTER {}", "ZINTERSTORE d {}"])
def test_a_key_whose_scores_count_each_time_is_named_so_often(form: str) -> None:
    """One value is not looked at 65,000 times by one short request; different keys may be as many as there are."""
    for keys, is_taken in ((["a"] * 64, True), (["a"] * 65, False), ([f"k{number}" for number in range(9999)], True)):
        args = form.format(" ".join([str(len(keys)), *keys])).encode().split()
        plan = PLANS[args[0]]
        assert plan.is_looked_at
        refusal = size_refusal(plan, args, Limits())
        assert refusal is None if is_taken else b"a key is named 65 times" in (refusal or b"")


@pytest.mark.parametrize("form", ["SORT l {}", "SORT_RO l LIMIT 0 1 {}", "SORT l {} STORE d"])
def test_what_is_returned_of_each_member_is_asked_for_so_often(form: str) -> None:
    """A short request does not make of one list what fits into no memory."""
    for count, is_taken in ((64, True), (65, False)):
        args = form.format(" ".join(["get #"] * count)).encode().split()
        plan = PLANS[args[0]]
        assert plan.is_looked_at
        refusal = size_refusal(plan, args, Limits())
        assert refusal is None if is_taken else b"GET stands there 65 times, and may 64 times" in (refusal or b"")
