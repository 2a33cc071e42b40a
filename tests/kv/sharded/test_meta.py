"""Group 0 of a sharded server: it gives ids, keeps configurations beside users, and no keys."""

import pytest

from raftline.errors import ChangeRefused, ConfigError, StorageError
from raftline.kv.machine import TICK_COMMAND, encode_command
from raftline.kv.sharded.meta import COUNTS_LEAVING, PLACES_LEAVING, MetaMachine
from raftline.kv.sharded.requests import (
    CHANGE_NAME,
    KNOWS_MEMBERS,
    AddGroups,
    Began,
    Request,
    Retire,
    as_change,
    change_command,
)
from raftline.shards.configuration import EMPTY, Leave, Move, Place, Rebalance

NODES = {name: f"127.0.0.1:{7000 + number}" for number, name in enumerate(("n1", "n2", "n3"))}


def change(machine: MetaMachine, request: Request) -> bytes:
    """Carry out a change as if it were committed."""
    return machine.apply(change_command(request), 5, 1000)


@pytest.fixture
def machine() -> MetaMachine:
    """A controller with groups 1 and 2."""
    made = MetaMachine()
    assert change(made, AddGroups(2, NODES)) == b":1\r\n"
    return made


def restored(machine: MetaMachine) -> MetaMachine:
    """Return a machine that has come from a snapshot."""
    other = MetaMachine()
    other.restore_begin()
    for piece in machine.snapshot():
        other.restore_chunk(piece)
    other.restore_end()
    return other


def test_ids_are_given_once(machine: MetaMachine) -> None:
    """A group that left does not come back under its number, so that no old log of it can either (G17)."""
    assert machine.configuration.group_ids == (1, 2)
    assert change(machine, Leave((2,))) == b":2\r\n"
    assert change(machine, Retire(2)) == b":2\r\n"
    assert change(restored(machine), AddGroups(1, NODES)) == b":3\r\n"
    assert change(machine, AddGroups(1, NODES)) == b":3\r\n"
    assert machine.configuration.group_ids == (1, 3)


def test_a_group_that_left_is_hosted_until_it_is_retired(machine: MetaMachine) -> None:
    """Its nodes are remembered, since its slots have to be fetched from somewhere."""
    change(machine, Leave((1,)))
    assert machine.configuration.nodes_of(1) == ()
    assert sorted(machine.nodes_of(1)) == sorted(NODES)
    assert not machine.is_retired(1)
    change(machine, Retire(1))
    assert machine.nodes_of(1) == ()
    assert machine.is_retired(1)
    assert not machine.is_retired(3)
    assert 1 not in machine.founders


def test_only_a_group_that_left_is_retired(machine: MetaMachine) -> None:
    """Whoever proposes it for one that serves slots is not heard."""
    assert change(machine, Retire(1)) == b":1\r\n"
    assert machine.nodes_of(1)
    assert 1 in machine.founders


def test_founders_are_remembered_and_so_is_that_others_came(machine: MetaMachine) -> None:
    """A log counts from its first members on; who comes later, or again, waits and begins no second history (A11)."""
    assert machine.founders[1] == NODES
    change(machine, Began(1))
    change(machine, Place(1, ("n2", "n3", "n4")))
    other = restored(machine)
    assert (other.founders, other.begun, other.placed) == ({1: NODES, 2: NODES}, {1}, {1})


def test_a_group_that_has_not_begun_stays_where_it_is(machine: MetaMachine) -> None:
    """Founders that come to host it after it was placed would wait to be let in, and nobody could (G17; seed 672)."""
    assert change(machine, Place(1, ("n2", "n3", "n4"))).startswith(b"-ERR group 1 has not begun yet")
    assert change(machine, Began(1)) == b":1\r\n"
    assert change(machine, Began(7)) == b":1\r\n"
    assert machine.begun == {1}
    assert change(restored(machine), Place(1, ("n2", "n3", "n4"))) == b":2\r\n"
    change(machine, Leave((1,)))
    change(machine, Retire(1))
    assert not machine.begun


def leaving(machine: MetaMachine) -> MetaMachine:
    """Let group 1 begin and leave; every member knows that it can be placed."""
    machine.use_version(PLACES_LEAVING)
    change(machine, Began(1))
    change(machine, Leave((1,)))
    return machine


def test_a_group_that_is_leaving_is_placed_as_well(machine: MetaMachine) -> None:
    """What it still holds has to be held somewhere; it is in no configuration, so none is made (G17)."""
    before = leaving(machine).controller.history
    assert change(machine, Place(1, ("n2", "n3", "n4"))) == b":2\r\n"
    assert machine.controller.history == before
    other = restored(machine)
    for each in (machine, other):
        assert each.nodes_of(1) == ("n2", "n3", "n4")
        assert (each.placed, each.founders[1]) == ({1}, NODES)
        assert each.groups == ((2, each.nodes_of(2)), (1, ("n2", "n3", "n4")))
    change(other, Retire(1))
    assert (other.placed, other.leaving) == (set(), {})
    assert change(other, Place(1, ("n1",))).startswith(b"-ERR there is no group 1; there are: 2")


def test_a_group_that_is_leaving_is_placed_somewhere_else_or_not_at_all(machine: MetaMachine) -> None:
    """Nonsense is refused in words, as for a group that serves slots, and changes nothing."""
    machine.use_version(PLACES_LEAVING)
    change(machine, Leave((1,)))
    assert change(machine, Place(1, ("n2",))).startswith(b"-ERR group 1 has not begun yet")
    change(machine, Began(1))
    held = machine.nodes_of(1)
    assert change(machine, Place(1, ())).startswith(b"-ERR group 1 has no nodes")
    assert change(machine, Place(1, ("n2", "n2"))).startswith(b"-ERR group 1 names a node twice")
    assert change(machine, Place(1, held)).startswith(b"-ERR nothing would change: group 1 is leaving, and on")
    assert (machine.nodes_of(1), machine.placed) == (held, set())


def test_it_is_placed_once_every_member_knows_that_it_can_be(machine: MetaMachine) -> None:
    """A member of before says that there is no such group, and so does everybody until it is upgraded (G17)."""
    machine.use_version(PLACES_LEAVING - 1)
    assert not machine.can_place(1)
    change(machine, Began(1))
    assert machine.can_place(1)
    change(machine, Leave((1,)))
    held = machine.nodes_of(1)
    assert not machine.can_place(1)
    assert change(machine, Place(1, ("n4",))) == b"-ERR there is no group 1; there are: 2\r\n"
    assert (machine.nodes_of(1), machine.placed) == (held, set())
    machine.use_version(PLACES_LEAVING)
    assert machine.can_place(1)
    assert change(machine, Place(1, ("n4",))) == b":2\r\n"


def test_new_groups_go_where_those_that_are_leaving_are_not(machine: MetaMachine) -> None:
    """They hold what they have until it has gone; once every member counts them so (G17)."""
    machine.use_version(COUNTS_LEAVING - 1)
    change(machine, Leave((1,)))
    nodes = NODES | {"n4": "127.0.0.1:7004", "n5": "127.0.0.1:7005"}
    change(machine, Began(2))
    change(machine, Place(2, ("n1",)))
    other = restored(machine)
    machine.use_version(COUNTS_LEAVING)
    other.use_version(COUNTS_LEAVING - 1)
    wanted = AddGroups(1, nodes, replicas=2)
    assert change(machine, wanted) == change(other, wanted)
    assert sorted(other.nodes_of(3)) == ["n2", "n3"], "as members of before decide"
    assert sorted(machine.nodes_of(3)) == ["n4", "n5"]


def test_no_group_is_for_who_is_no_member(machine: MetaMachine) -> None:
    """It would hear of nothing; once every member looks at it, by what the log says and a snapshot keeps (G17)."""
    machine.use_version(KNOWS_MEMBERS)
    change(machine, Began(1))
    change(machine, Began(2))
    assert change(machine, AddGroups(1, {"n9": "127.0.0.1:7009"})) == b":2\r\n", "nobody has said who they are"
    change(machine, Began(3))
    machine.on_membership(("n1", "n2", "n4"))
    change(machine, Place(1, ("n1", "n2")))
    for known in (machine, restored(machine)):
        before = known.groups
        refusal = b"-ERR n3 is no member of the cluster, or about to be removed: name others; ask again shortly"
        assert change(known, AddGroups(1, NODES)).startswith(refusal)
        assert change(known, Place(1, ("n1", "n3"))).startswith(refusal)
        assert change(known, Place(1, ("n3", "n5"))).startswith(b"-ERR n3, n5 are no members of the cluster")
        assert known.groups == before
        change(known, Leave((2,)))
        assert change(known, Place(2, ("n1", "n5"))).startswith(b"-ERR n5 is no member"), "of one that is leaving, too"
        assert known.nodes_of(2) == dict(before)[2]
        assert change(known, Place(3, ("n9", "n4"))) == b":5\r\n", (
            "who has it may keep it, as versions of before let it go"
        )


def test_members_count_once_everybody_looks_at_them(machine: MetaMachine) -> None:
    """Members of before would come to another result (G17)."""
    machine.use_version(KNOWS_MEMBERS - 1)
    machine.on_membership(("n1", "n2"))
    assert change(machine, AddGroups(1, NODES)) == b":2\r\n"
    machine.use_version(KNOWS_MEMBERS)
    assert change(machine, AddGroups(1, NODES)) == b":3\r\n"


def test_who_holds_groups_is_not_removed(machine: MetaMachine) -> None:
    """Nor who is about to: what stands in the log and is not applied counts (G17)."""

    def pending(*requests: Request) -> list[bytes]:
        unread = encode_command([CHANGE_NAME, b"\x93\xa5Place\x01\x91\xa1\xff"])
        return [TICK_COMMAND, b"", b"\xc1", unread, unread[:-3], *(change_command(request) for request in requests)]

    held = "n3 holds replicas of groups 1, 2: first have them elsewhere by"
    assert held in str(machine.objection_to_removal("n3", ()))
    change(machine, Leave((2,)))
    assert held in str(machine.objection_to_removal("n3", pending(Began(1), Rebalance()))), "still"
    leaves = machine.objection_to_removal("n3", pending(Place(1, ("n1",))))
    assert leaves == "n3 is about to be without group 1: ask again shortly"
    assert machine.objection_to_removal("n4", pending(Began(1), Leave((1,)), Place(1, ("n3",)))) is None
    for request in (Place(1, ("n3", "n4")), AddGroups(1, {"n4": "127.0.0.1:7004"})):
        assert "n4 is about to get replicas" in str(machine.objection_to_removal("n4", pending(Rebalance(), request)))


def test_the_first_groups_are_made_once(machine: MetaMachine) -> None:
    """Several nodes may propose them at the first start."""
    assert change(machine, AddGroups(2, NODES, only_first=True)).startswith(b"-ERR there have been groups")
    assert change(MetaMachine(), AddGroups(2, NODES, only_first=True)) == b":1\r\n"


def test_refusals_are_words_and_change_nothing(machine: MetaMachine) -> None:
    """Whatever cannot be done is told to whoever asked."""
    before = machine.configuration
    assert change(machine, Leave((1, 2))).startswith(b"-ERR all groups would leave")
    assert change(machine, Move(5, 5, 1)).startswith(b"-ERR slots [5, 5) are none")
    assert change(machine, Rebalance()).startswith(b"-ERR nothing would change")
    assert machine.apply(encode_command([b"RAFTLINE.SHARD.CHANGE", b"\xc1"]), 6, 0).startswith(b"-ERR no change that")
    assert machine.apply(encode_command([b"RAFTLINE.SHARD.CHANGE"]), 6, 0).startswith(b"-ERR no change that")
    assert machine.configuration == before


def test_a_change_can_be_tried_out_beforehand(machine: MetaMachine) -> None:
    """What a dry run shows is what happens, as long as nothing else does."""
    wanted = as_change(AddGroups(1, NODES | {"n4": "d:1"}), machine.configuration, machine.last_group)
    change(machine, AddGroups(1, {"n4": "d:1"} | NODES))
    assert machine.configuration.groups[-1] == next(iter(wanted.groups.items()))  # type: ignore[union-attr]
    with pytest.raises(ChangeRefused):
        as_change(Retire(1), EMPTY, 0)


def test_it_keeps_users_and_no_keys(machine: MetaMachine) -> None:
    """Commands of one key are refused, alone and in a transaction; users are as in any store."""
    for words in ([b"SET", b"a", b"b"], [b"DEL", b"a"], [b"RAFTLINE.EXEC", b"\x90"]):
        assert machine.apply(encode_command(words), 7, 0).startswith(b"-ERR the controller")
    assert machine.apply(encode_command([b"ACL|SETUSER", b"SETUSER", b"ann", b"on"]), 8, 0) == b"+OK\r\n"
    assert machine.apply(TICK_COMMAND, 9, 0) != b""
    assert machine.store.count == 0
    assert restored(machine).store.users.dump() == machine.store.users.dump()


def test_a_snapshot_holds_everything(machine: MetaMachine) -> None:
    """Every configuration, who founded what, and who is about to go."""
    for number in range(200):
        change(machine, Move(number, number + 1, 1 + number % 2))
    change(machine, Leave((1,)))
    other = restored(machine)
    assert other.controller.history == machine.controller.history
    assert (other.last_group, other.founders, other.leaving) == (2, {1: NODES, 2: NODES}, machine.leaving)
    assert other.configuration_at(3) == machine.configuration_at(3)
    assert other.configuration_at(999) == machine.configuration


def test_a_snapshot_that_is_cut_is_refused(machine: MetaMachine) -> None:
    """Nothing of it takes effect; one of an unsharded store is no snapshot of a controller."""
    pieces = list(machine.snapshot())
    other = MetaMachine()
    other.restore_begin()
    with pytest.raises(StorageError, match="not complete"):
        other.restore_end()
    with pytest.raises(StorageError, match="cannot be read"):
        other.restore_chunk(pieces[0][:-1])
    with pytest.raises((StorageError, ConfigError)):
        other.restore_chunk(pieces[-1])


def test_the_history_is_loaded_chunk_by_chunk(machine: MetaMachine) -> None:
    """What cannot be read is told with its chunk, not when all are there; until then the old state is in force."""
    pieces = list(machine.snapshot())
    other = MetaMachine()
    other.restore_begin()
    other.restore_chunk(pieces[0])
    with pytest.raises(StorageError, match="cannot be read"):
        other.restore_chunk(pieces[1][:-1])
    other.restore_begin()
    for piece in pieces:
        other.restore_chunk(piece)
    assert other.configuration == EMPTY
    other.restore_end()
    assert other.configuration == machine.configuration
