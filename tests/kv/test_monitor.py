"""The three pages of the monitoring port in every state of a server."""

from http import HTTPStatus
from typing import TYPE_CHECKING

import msgspec
import pytest

from raftline.errors import StorageError
from raftline.kv.monitor import Monitor
from raftline.kv.service import Service

if TYPE_CHECKING:
    from tests.kv.conftest import HeldNode


def _monitor(service: Service | None, failure: BaseException | None = None) -> Monitor:
    return Monitor("127.0.0.1", 0, lambda: service, lambda: failure)


def test_a_server_that_serves_is_healthy_and_ready(service: Service) -> None:
    """Both say so, and the metrics are there, the process's own among them."""
    monitor = _monitor(service)
    assert monitor.healthz() == (HTTPStatus.OK, "text/plain; charset=utf-8", b"alive\n")
    assert monitor.readyz() == (HTTPStatus.OK, "text/plain; charset=utf-8", b"ready\n")
    status, kind, body = monitor.metrics()
    assert status is HTTPStatus.OK
    assert kind.startswith("text/plain; version=")
    assert b"\nraftline_term 1.0\n" in body
    assert b"\nprocess_resident_memory_bytes " in body


def test_a_server_that_starts_is_healthy_and_not_ready() -> None:
    """A long recovery must not have the process killed by its supervisor."""
    monitor = _monitor(None)
    assert monitor.healthz()[0] is HTTPStatus.OK
    status, _, body = monitor.readyz()
    assert (status, body[:8]) == (HTTPStatus.SERVICE_UNAVAILABLE, b"starting")
    assert b"raftline_term" not in monitor.metrics()[2]


def test_why_a_server_is_not_ready_is_said(
    service: Service, held_node: "HeldNode", monkeypatch: pytest.MonkeyPatch
) -> None:
    """The node's reason is the page's text."""
    measured = msgspec.structs.replace(held_node.measure(), not_ready="no leader is known")
    monkeypatch.setattr(held_node, "measure", lambda: measured)
    monitor = _monitor(service)
    assert monitor.readyz()[::2] == (HTTPStatus.SERVICE_UNAVAILABLE, b"no leader is known\n")
    assert monitor.healthz()[0] is HTTPStatus.OK


def test_a_failed_disk_is_neither_healthy_nor_ready(service: Service) -> None:
    """Whoever supervises it is told to act, and why."""
    monitor = _monitor(service, StorageError("the disk is full"))
    for status, _, body in (monitor.healthz(), monitor.readyz()):
        assert (status, body) == (HTTPStatus.SERVICE_UNAVAILABLE, b"stopped: the disk is full\n")
