"""Runs one test of a service lab once, on virtual time: the seed fixes everything."""

import time

from raftline.errors import ApplyError, SafetyViolation
from raftline.lab.promises import BrokenPromise
from raftline.lab.result import Failure, Numbers, TestResult, failure_of
from raftline.lab.services.case import ServiceTest
from raftline.lab.services.deployment import Deployment
from raftline.linearizability.checker import Verdict, check
from raftline.linearizability.history import HistoryError
from raftline.linearizability.redis_strings import RedisStrings
from raftline.sim.loop import SimLoop
from raftline.sim.refusals import SimulationError
from raftline.sim.trace import Trace

__all__ = ["run_service_test"]

_LIMIT_S = 600.0
_CHECK_STEPS_MAX = 3_000_000


def run_service_test(test: ServiceTest, seed: int, *, trace: Trace | None = None) -> TestResult:
    """Run a test and return what came of it; must be called outside any loop. `trace` gets every message and step."""
    began_s = time.process_time()
    world = SimLoop(seed)
    deployment = Deployment(
        world,
        test.servers,
        test.make_machine,
        unreliable=test.unreliable,
        log_bytes_max=test.log_bytes_max,
        trace=trace,
    )
    failure: Failure | None = None
    try:
        world.run_until_complete(deployment.start(), limit_s=_LIMIT_S)
        world.run_until_complete(test.body(deployment), limit_s=_LIMIT_S)
        _check_history(deployment)
    except BrokenPromise as broken:
        failure = failure_of(broken, world.now)
    except SafetyViolation as error:
        failure = failure_of(BrokenPromise("raft's promises", str(error)), world.now)
    except ApplyError as error:
        failure = failure_of(BrokenPromise("exactly once", f"a clerk was refused: {error}"), world.now)
    except (TimeoutError, SimulationError) as error:
        failure = failure_of(BrokenPromise("progress", str(error)), world.now)
    finally:
        world.close(raise_failures=False)
    return TestResult(
        part=test.part,
        title=test.title,
        seed=seed,
        virtual=True,
        passed=failure is None,
        numbers=Numbers(
            time_s=round(world.now, 3),
            servers=test.servers,
            rpcs=deployment.messages,
            bytes=sum(traffic.bytes_sent for traffic in deployment.cluster.network.traffic.values()),
            commits=len(deployment.cluster.checkers.committed),
        ),
        cpu_s=round(time.process_time() - began_s, 3),
        failure=failure,
    )


def _check_history(deployment: Deployment) -> None:
    """Some order of all operations explains what every clerk was told."""
    try:
        result = check(deployment.operations, RedisStrings(), steps_max=_CHECK_STEPS_MAX, stop_at_first=True)
    except HistoryError as error:
        raise BrokenPromise("linearizable", f"an answer that its operation can never have: {error}") from None
    if result.verdict is Verdict.NO:
        part = result.failing()[0]
        seen = f"no order explains the answers to the {len(part.operations)} operations on key {part.key}"
        raise BrokenPromise("linearizable", seen)
