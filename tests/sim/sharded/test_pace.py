"""A pace that is healed: who waits goes on at once."""

from raftline.sim.loop import SimLoop
from raftline.sim.sharded.pace import HealingPace


def test_who_waits_goes_on_when_all_is_healed() -> None:
    """A run waits for nothing once nothing is slow any more: what was owed is forgiven, also for those who slept."""
    with SimLoop(1) as world:
        pace = HealingPace(10)
        node = world.node("n1")

        async def take() -> float:
            await pace.take(100)
            await pace.take(100)
            await pace.take(100)
            return world.now

        ended = node.spawn(take())
        world.run_for(5.0)
        assert not ended.done()
        pace.heal()
        world.run_for(0.1)
        assert ended.result() == 5.0


def test_until_then_it_bounds_what_arrives() -> None:
    """The second of two takes waits for as long as the first one's bytes need."""
    with SimLoop(1) as world:
        pace = HealingPace(100)

        async def take() -> float:
            await pace.take(50)
            await pace.take(50)
            return world.now

        assert world.run_until_complete(take()) == 0.5
