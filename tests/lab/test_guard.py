"""What the code under test replaced in modules that everybody shares is named."""

import asyncio
import time

import pytest

from raftline.lab.guard import replaced


def test_nothing_is_replaced_by_itself() -> None:
    """The tester itself, and pytest, leave the shared functions alone."""
    assert replaced() == []


def test_a_replaced_function_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A patch of any module's function shows, as long as it stands (H9)."""
    monkeypatch.setattr(time, "monotonic", lambda: 0.0)
    monkeypatch.delattr(asyncio, "shield")
    assert replaced() == ["asyncio.shield", "time.monotonic"]
    monkeypatch.undo()
    assert replaced() == []
