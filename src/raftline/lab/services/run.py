"""Runs one test of a service lab once, on virtual time: the seed fixes everything."""

import time
from collections.abc import Awaitable, Callable, Sequence

from raftline.errors import ApplyError, SafetyViolation
from raftline.lab.promises import BrokenPromise
from raftline.lab.result import Failure, Numbers, TestResult, failure_of
from raftline.lab.services.case import ServiceTest, ShardedTest
from raftline.lab.services.deployment import Deployment
from raftline.lab.services.sharded import ShardedDeployment
from raftline.linearizability.checker import Verdict, check
from raftline.linearizability.history import HistoryError, Operation
from raftline.linearizability.redis_strings import RedisStrings
from raftline.sim.loop import SimLoop
from raftline.sim.refusals import SimulationError
from raftline.sim.trace import Trace

__all__ = ["run_service_test"]

_LIMIT_S = 600.0
_CHECK_STEPS_MAX = 3_000_000


def run_service_test(test: ServiceTest | ShardedTest, seed: int, *, trace: Trace | None = None) -> TestResult:
    """Run a test and return what came of it; must be called outside any loop.

    `trace` gets every message and step; of a sharded store's servers, those of the controller.
    """
    began_s = time.process_time()
    world = SimLoop(seed)
    if isinstance(test, ServiceTest):
        deployments, operations, go = _service(world, test, trace)
    else:
        deployments, operations, go = _sharded(world, test, trace)
    failure = _failure_of(world, go, operations)
    world.close(raise_failures=False)
    clusters = [deployment.cluster for deployment in deployments]
    return TestResult(
        part=test.part,
        title=test.title,
        seed=seed,
        virtual=True,
        passed=failure is None,
        numbers=Numbers(
            time_s=round(world.now, 3),
            servers=sum(len(cluster.members) for cluster in clusters),
            rpcs=sum(deployment.messages for deployment in deployments),
            bytes=sum(traffic.bytes_sent for cluster in clusters for traffic in cluster.network.traffic.values()),
            commits=sum(len(cluster.checkers.committed) for cluster in clusters),
        ),
        cpu_s=round(time.process_time() - began_s, 3),
        failure=failure,
    )


_Prepared = tuple[Sequence[Deployment], Sequence[Operation], Callable[[], Awaitable[None]]]


def _service(world: SimLoop, test: ServiceTest, trace: Trace | None) -> _Prepared:
    deployment = Deployment(
        world,
        test.servers,
        test.make_machine,
        unreliable=test.unreliable,
        log_bytes_max=test.log_bytes_max,
        trace=trace,
    )

    async def go() -> None:
        await deployment.start()
        await test.body(deployment)

    return [deployment], deployment.operations, go


def _sharded(world: SimLoop, test: ShardedTest, trace: Trace | None) -> _Prepared:
    sharded = ShardedDeployment(
        world, test.groups, unreliable=test.unreliable, log_bytes_max=test.log_bytes_max, trace=trace
    )

    async def go() -> None:
        await sharded.start()
        await test.body(sharded)
        await sharded.wait_settled((await sharded.admin.configuration()).number)
        await sharded.check_given_is_gone()
        sharded.stop()

    return sharded.deployments, sharded.operations, go


def _failure_of(world: SimLoop, go: Callable[[], Awaitable[None]], operations: Sequence[Operation]) -> Failure | None:
    """Run to the end, whatever that is, and look at the history; return why the test failed."""
    try:
        world.run_until_complete(go(), limit_s=_LIMIT_S)
        _check_history(operations)
    except BrokenPromise as broken:
        return failure_of(broken, world.now)
    except SafetyViolation as error:
        return failure_of(BrokenPromise("raft's promises", str(error)), world.now)
    except ApplyError as error:
        return failure_of(BrokenPromise("exactly once", f"a clerk was refused: {error}"), world.now)
    except (TimeoutError, SimulationError) as error:
        return failure_of(BrokenPromise("progress", str(error)), world.now)
    return None


def _check_history(operations: Sequence[Operation]) -> None:
    """Some order of all operations explains what every clerk was told."""
    try:
        result = check(operations, RedisStrings(), steps_max=_CHECK_STEPS_MAX, stop_at_first=True)
    except HistoryError as error:
        raise BrokenPromise("linearizable", f"an answer that its operation can never have: {error}") from None
    if result.verdict is Verdict.NO:
        part = result.failing()[0]
        seen = f"no order explains the answers to the {len(part.operations)} operations on key {part.key}"
        raise BrokenPromise("linearizable", seen)
