"""One run of one test: a result whatever happens, the same one for the same seed."""

import asyncio
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from raftline.lab import ApplyMsg, ClientEnd, Persister, make
from raftline.lab import run as run_module
from raftline.lab.catalogue import select
from raftline.lab.result import TestResult
from raftline.lab.run import run_test

Method = Callable[..., Any]


def _run(title: str, implementation: Method = make, seed: int = 1, *, virtual: bool = True) -> tuple[TestResult, str]:
    [test] = select([title])
    result, trace = run_test(test, implementation, seed, virtual=virtual, scripts=False)
    return result, "\n".join(trace.lines())


class Idle:
    """A server that does nothing, correctly."""

    def __init__(self, peers: Sequence[ClientEnd], me: int, persister: Persister, apply: Any) -> None:
        self.peers, self.me, self.persister, self.apply = peers, me, persister, apply

    def start(self, _command: bytes) -> tuple[int, int, bool]:
        """Refuse."""
        return -1, 0, False

    def get_state(self) -> tuple[int, bool]:
        """Follow for ever."""
        return 0, False

    def snapshot(self, _index: int, _data: bytes) -> None:
        """Ignore it."""

    async def handle(self, _method: str, _args: bytes) -> bytes:
        """Answer nothing."""
        return b""

    def kill(self) -> None:
        """End."""


def test_the_same_seed_gives_the_same_run() -> None:
    """Numbers and traces are equal line by line; another seed differs."""
    first, second, third = (_run("Figure 8 (unreliable)", seed=seed) for seed in (5, 5, 6))
    assert first[0].numbers == second[0].numbers
    assert first[1] == second[1]
    assert first[1] != third[1]


def test_it_runs_on_real_time() -> None:
    """The same test passes on the real clock, and takes the time it says."""
    began = time.monotonic()
    result, _ = _run("basic agreement", virtual=False)
    assert result.failure is None
    assert result.numbers is not None
    assert result.numbers.time_s <= time.monotonic() - began


def test_an_empty_implementation_has_no_leader() -> None:
    """Servers that never stand for election fail after about 5 s, and it is said so (I26)."""
    result, trace = _run("initial election", Idle)
    assert result.failure is not None
    assert result.failure.promise.startswith("a leader stands within 5 s")
    assert 4.5 <= result.failure.at_s <= 5.6
    assert "BROKEN" not in trace
    assert "A5" in result.failure.rules


def _raising(name: str) -> type[Idle]:
    def method(*_arguments: Any) -> Any:
        raise RuntimeError(f"no {name}")

    return type("Raising", (Idle,), {name: method})


@pytest.mark.parametrize("name", ["__init__", "get_state", "start", "kill"])
def test_whatever_raises_fails_the_test(name: str) -> None:
    """An exception of any method is the result, with its text and place (H2, H3, H5)."""
    result, _ = _run("basic agreement" if name == "start" else "initial election", _raising(name))
    assert result.failure is not None
    assert f"no {name}" in result.failure.seen
    assert "test_run.py" in result.failure.seen


@pytest.mark.parametrize("value", [None, (1,), (1, 2), (True, 1), ("1", False), (1.0, True)])
def test_a_wrong_state_fails_the_test(value: Any) -> None:
    """get_state() must be (int, bool), nothing that merely looks like it (H3)."""
    wrong = type("Wrong", (Idle,), {"get_state": lambda _self: value})
    result, _ = _run("initial election", wrong)
    assert result.failure is not None
    assert "get_state() must return (int, bool)" in result.failure.seen


class Caller(Idle):
    """A server that calls its peers with whatever a subclass has."""

    method: Any = "m"
    args: Any = b""

    def __init__(self, peers: Sequence[ClientEnd], me: int, persister: Persister, apply: Any) -> None:
        super().__init__(peers, me, persister, apply)
        self.task = asyncio.get_running_loop().create_task(self.work())

    async def work(self) -> None:
        """Call once."""
        await asyncio.sleep(0.1)
        await self.peers[(self.me + 1) % len(self.peers)].call(self.method, self.args)

    def kill(self) -> None:
        """End."""
        self.task.cancel()


@pytest.mark.parametrize(("method", "args"), [(None, b""), ("m", "text"), (b"m", b""), ("m", None)])
def test_wrong_arguments_of_a_call_fail_the_test(method: Any, args: Any) -> None:
    """call(method: str, args: bytes) refuses anything else, and the refusal is the result (H10)."""
    result, _ = _run("initial election", type("Wrong", (Caller,), {"method": method, "args": args}))
    assert result.failure is not None
    assert "call(method: str, args: bytes)" in result.failure.seen
    assert result.failure.promise.startswith("arguments and results have the types")


@pytest.mark.parametrize("reply", [None, "text", 7])
def test_a_wrong_reply_fails_the_test(reply: Any) -> None:
    """handle() must return bytes (H10)."""

    async def handle(_self: Any, _method: str, _args: bytes) -> Any:
        return reply

    result, _ = _run("initial election", type("Wrong", (Caller,), {"handle": handle}))
    assert result.failure is not None
    assert "must return bytes" in result.failure.seen


class Spinning(Caller):
    """A server whose task never gives the loop back."""

    async def work(self) -> None:
        """Spin, through every exception that is one."""
        await asyncio.sleep(0.1)
        while True:
            try:
                while True:
                    pass
            except Exception:  # noqa: BLE001, S110  what learners write
                pass


# The interruption may strike inside a weak reference's callback, from which Python cannot raise: it says so, and the
# next one strikes elsewhere.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("virtual", [True, False])
def test_an_endless_loop_fails_the_test(monkeypatch: pytest.MonkeyPatch, *, virtual: bool) -> None:
    """A loop that spins is interrupted, and named, on virtual and on real time (F19)."""
    monkeypatch.setattr(run_module, "_STUCK_S", 2.5)
    result, _ = _run("initial election", Spinning, virtual=virtual)
    assert result.failure is not None
    assert "in work" in result.failure.seen
    assert "F19" in result.failure.rules


class Rescheduling(Caller):
    """A server that calls itself back at once, for ever."""

    async def work(self) -> None:
        """Never wait for time to pass."""
        loop = asyncio.get_running_loop()

        def again() -> None:
            loop.call_soon(again)

        again()


def test_endless_callbacks_fail_the_test() -> None:
    """Virtual time that stands still while callbacks run is noticed (F19)."""
    result, _ = _run("initial election", Rescheduling)
    assert result.failure is not None
    assert "virtual time stands still" in result.failure.seen


class Flooding(Caller):
    """A server that calls without end."""

    async def work(self) -> None:
        """Call all the time, without waiting for anything."""
        while True:
            self.tasks = [asyncio.ensure_future(self.peers[(self.me + 1) % 3].call("m", b"x")) for _ in range(50)]
            await asyncio.sleep(0.001)


def test_a_flood_fails_the_test() -> None:
    """Tens of thousands of calls within a second are noticed before they fill memory (B25)."""
    result, _ = _run("initial election", Flooding)
    assert result.failure is not None
    assert "within one second" in result.failure.seen


def test_an_exception_that_nobody_looks_at_fails_a_test_that_passes() -> None:
    """A server that leads well, but lost a task to an exception, does not pass (E2)."""

    def wrapped(*arguments: Any) -> Any:
        async def broken() -> None:
            raise KeyError("lost")

        raft = make(*arguments)
        asyncio.get_running_loop().create_task(broken())
        return raft

    result, _ = _run("initial election", wrapped)
    assert result.failure is not None
    assert "KeyError: 'lost'" in result.failure.seen


def test_leaving_the_program_fails_the_test() -> None:
    """sys.exit() in a task ends the test, not the tester (H5)."""

    class Leaving(Caller):
        async def work(self) -> None:
            await asyncio.sleep(0.1)
            sys.exit(3)

    result, _ = _run("initial election", Leaving)
    assert result.failure is not None
    assert "ended the program" in result.failure.seen


def test_a_test_that_takes_too_long_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit holds for the test's own clock, too (J4)."""
    monkeypatch.setattr(run_module, "TIME_LIMIT_S", 2.0)
    monkeypatch.setattr(run_module, "_FAREWELLS_S", -60.0)  # until real time is over
    result, _ = _run("initial election")
    assert result.failure is not None
    assert result.failure.seen == "the test did not end within 2 s"


def test_deliveries_of_anything_are_survived() -> None:
    """A server that puts nonsense fails with a reason (H4)."""

    class Talking(Caller):
        async def work(self) -> None:
            await self.apply.put("nonsense")

    result, _ = _run("initial election", Talking)
    assert result.failure is not None
    assert "put() was given str" in result.failure.seen
    assert ApplyMsg.__name__ in result.failure.seen
