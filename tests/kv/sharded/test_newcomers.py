"""Replicas that are hosted and wait to be added to their group, as the keeper sees them."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tests.kv.sharded.test_keeper import in_a_loop, sharded

from raftline.core.membership import Membership


@in_a_loop
async def test_a_newcomer_is_not_out_by_what_was_decided_before_it_was_added(tmp_path: Path) -> None:
    """It goes through the log, and through the entry that removed this node long ago (thesis 4.1).

    Given up there, it would begin anew, while its leader knows how far it had come.
    """
    async with sharded(tmp_path, first_groups=1) as cluster:
        await cluster.wait_settled(1)
        keeper: Any = cluster.places["n1"].keeper
        replica = keeper.running(1)
        await cluster.places["n1"].rest()

        def seen(*voters: str) -> Any:
            membership = Membership(voters=voters, addresses=tuple((node, "127.0.0.1:1") for node in voters))
            state = SimpleNamespace(me="n1", membership=membership, configuration=SimpleNamespace(index=5), commit=7)
            strangers = SimpleNamespace(role=lambda: None, error=lambda: None)
            driver = SimpleNamespace(replica=SimpleNamespace(core=SimpleNamespace(state=state)), strangers=strangers)
            keeper._groups[1] = SimpleNamespace(driver=driver)
            keeper._note_vote(1)
            return keeper._groups[1]

        try:
            keeper._joined.clear()
            without = seen("n2", "n3")
            assert not keeper._is_to_go(1, without, is_wanted=True)
            assert keeper._is_to_go(1, without, is_wanted=False)
            assert not keeper._is_to_go(1, seen("n1", "n2", "n3"), is_wanted=True)
            assert keeper._is_to_go(1, seen("n2", "n3"), is_wanted=True), "now it was removed"
        finally:
            keeper._groups[1] = replica
