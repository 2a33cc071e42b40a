"""Faults are plain checked numbers, and their samples stay within what they promise."""

from random import Random

import msgspec
import pytest

from raftline.errors import ConfigError
from raftline.sim.faults import CALM_DISK, CALM_LINK, DiskFaults, Latency, LinkFaults, SimCrash


def test_latency_stays_within_its_bounds_and_has_its_median() -> None:
    """Half of the samples are about the typical time or less, some are many times longer, none leaves the bounds."""
    latency = Latency(0.001, 0.005, 1.0)
    draw = Random(1).random
    samples = sorted(latency.sample(draw) for _ in range(10_000))
    assert samples[0] >= 0.001
    assert samples[-1] < 1.0
    assert samples[5000] == pytest.approx(0.005, rel=0.05)
    assert samples[9900] > 0.1
    assert Latency(0.5, 0.5, 0.5).sample(draw) == 0.5
    assert Latency(0.5, 0.5, 9.5).sample(draw) == 0.5


def test_nonsense_is_refused() -> None:
    """Bounds in the wrong order and probabilities outside [0, 1] or above 1 together raise ConfigError."""
    for low, typical, high in ((2.0, 1.0, 3.0), (-1.0, 0.0, 1.0), (0.0, 2.0, 1.0)):
        with pytest.raises(ConfigError):
            Latency(low, typical, high)
    with pytest.raises(ConfigError, match=r"loss is 1\.5"):
        LinkFaults(loss=1.5)
    with pytest.raises(ConfigError, match="exclude each other"):
        LinkFaults(loss=0.6, delay=0.6)
    with pytest.raises(ConfigError, match=r"sync_error is -0\.1"):
        DiskFaults(sync_error=-0.1)
    with pytest.raises(ConfigError, match="exclude each other"):
        DiskFaults(keep_unsynced=0.6, tear_unsynced=0.6)


def test_faults_can_be_written_down_and_read_back() -> None:
    """A nemesis prints its faults as JSON and replays them from it."""
    for value in (CALM_LINK, CALM_DISK, LinkFaults(loss=0.25), DiskFaults(slow_sync=0.5)):
        assert msgspec.json.decode(msgspec.json.encode(value), type=type(value)) == value


def test_a_crash_is_not_caught_as_an_exception() -> None:
    """`except Exception` in the code under test does not survive the machine."""
    assert not issubclass(SimCrash, Exception)
    assert SimCrash("before write segment").point == "before write segment"
