"""Whoever stands for the world offers what the runtime asks of it, in the same words."""

import inspect

import pytest

from raftline.runtime import ports
from raftline.runtime.clock import SystemClock
from raftline.runtime.disk import ThreadedDisk
from raftline.sim.disk_thread import SimDiskThread
from raftline.transport.tcp import TcpTransport
from raftline.wal import files


def methods(kind: type) -> dict[str, list[str]]:
    """Return the public methods of a class with their parameters."""
    found = [(name, each) for name, each in inspect.getmembers(kind, inspect.isroutine) if not name.startswith("_")]
    # A function of the standard library in the place of a method has no self, and no signature that could be read.
    return {
        name: ["self"] if inspect.isbuiltin(each) else list(inspect.signature(each).parameters) for name, each in found
    }


@pytest.mark.parametrize(
    ("port", "kind"),
    [
        (ports.Clock, SystemClock),
        (ports.DiskThread, ThreadedDisk),
        (ports.DiskThread, SimDiskThread),
        (ports.Transport, TcpTransport),
        (files.Files, files.OsFiles),
    ],
)
def test_every_call_is_there_with_the_same_parameters(port: type, kind: type) -> None:
    """So that what runs in the simulator runs in production."""
    asked, offered = methods(port), methods(kind)
    assert asked
    assert {name: offered.get(name) for name in asked} == asked
