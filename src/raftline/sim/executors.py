"""Where independent runs are carried out: in this process, in several of this machine, or on a Ray cluster.

All do the same: they call a function on each piece of work and give the results back in any order. What is called
depends on its argument only, so where it ran makes no difference. Ray is an extra and is imported when it is asked for.
"""

import os
import signal
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import AbstractContextManager
from importlib import import_module
from itertools import islice
from multiprocessing import get_context
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

from raftline.errors import ConfigError

__all__ = ["EXECUTORS", "Executor", "InProcess", "Processes", "RayCluster", "make_executor"]

T = TypeVar("T")
R = TypeVar("R")

_WAITING_PER_WORKER = 4
"""So many pieces are handed out ahead for each worker: nobody waits for work, and little is lost on an interrupt."""


class Executor(Protocol):
    """Carries out independent pieces of work; used as a context manager, which ends what it started."""

    workers: int
    """How many pieces are carried out at a time."""

    def run(self, function: Callable[[T], R], work: Iterable[T]) -> Iterator[R]:
        """Yield `function` of each piece, in any order; raise what one of them raised."""

    def __enter__(self) -> Self:
        """Get ready."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give up what has not begun, and end."""


class InProcess(AbstractContextManager["InProcess"]):
    """One after the other, here."""

    workers = 1

    def run(self, function: Callable[[T], R], work: Iterable[T]) -> Iterator[R]:
        """Yield the results in the order of the work."""
        yield from map(function, work)

    def __exit__(self, *_: object) -> None:
        """Do nothing."""


class Processes(AbstractContextManager["Processes"]):
    """In processes of this machine, each a fresh interpreter."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self._pool = ProcessPoolExecutor(workers, get_context("spawn"), _ignore_interrupts)

    def run(self, function: Callable[[T], R], work: Iterable[T]) -> Iterator[R]:
        """Yield results as they come."""
        pieces = iter(work)
        running: set[Future[R]] = set()
        while True:
            room = self.workers * _WAITING_PER_WORKER - len(running)
            running |= {self._pool.submit(function, piece) for piece in islice(pieces, room)}
            if not running:
                return
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                yield future.result()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give up what has not begun; wait for the rest only if all went well."""
        self._pool.shutdown(wait=kind is None, cancel_futures=True)


class RayCluster(AbstractContextManager["RayCluster"]):
    """On a Ray cluster: the one that RAY_ADDRESS names, else one of this machine that ends with this object.

    Every node of the cluster needs the same version of raftline and of its dependencies.
    """

    def __init__(self, workers: int | None = None) -> None:
        """Connect; `workers` is the most pieces at a time, and the CPUs of a cluster that has to be started here.

        Raises `ConfigError` if Ray is not installed or cannot be reached.
        """
        try:
            ray: Any = import_module("ray")
        except ImportError:
            raise ConfigError(
                "--executor ray needs Ray, which is not installed here: pip install 'raftline[ray]'"
            ) from None
        self._ray = ray
        self._is_ours = not ray.is_initialized()
        if self._is_ours:
            self._connect(workers)
        cpus = int(ray.cluster_resources().get("CPU", 1))
        self.workers = max(1, min(cpus, workers or cpus))

    def _connect(self, workers: int | None) -> None:
        quiet = {"log_to_driver": False, "include_dashboard": False, "configure_logging": False}
        try:
            if os.environ.get("RAY_ADDRESS"):
                self._ray.init(log_to_driver=False, configure_logging=False)
            else:
                self._ray.init(address="local", num_cpus=workers, **quiet)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise ConfigError(f"the Ray cluster cannot be reached: {error}") from None

    def run(self, function: Callable[[T], R], work: Iterable[T]) -> Iterator[R]:
        """Yield results as they come."""
        remote = self._ray.remote(num_cpus=1, max_retries=2)(_call)
        shared = self._ray.put(function)
        pieces = iter(work)
        running: list[Any] = []
        try:
            while True:
                room = self.workers * _WAITING_PER_WORKER - len(running)
                running += [remote.remote(shared, piece) for piece in islice(pieces, room)]
                if not running:
                    return
                done, running = self._ray.wait(running, num_returns=1)
                for reference in done:
                    yield self._ray.get(reference)
        finally:
            for reference in running:
                self._ray.cancel(reference)

    def __exit__(self, *_: object) -> None:
        """Disconnect; a cluster that was started here ends."""
        if self._is_ours:
            self._ray.shutdown()


def _ignore_interrupts() -> None:
    """Leave Ctrl-C to the process that handed the work out."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _call(function: Callable[[T], R], piece: T) -> R:
    return function(piece)


EXECUTORS = ("processes", "ray")
"""What `--executor` takes."""


def make_executor(name: str, workers: int | None) -> Executor:
    """Return the executor that `--executor` names; `workers` None leaves it to a cluster, and is 1 on this machine.

    Raises `ConfigError` for a name that is not known, and if Ray is not there.
    """
    if name == "ray":
        return RayCluster(workers)
    if name != "processes":
        raise ConfigError(f"there is no executor {name!r}, only {', '.join(EXECUTORS)}")
    return Processes(workers) if workers is not None and workers > 1 else InProcess()
