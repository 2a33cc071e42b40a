"""The pytest plugin, as a user's test run sees it."""

import pytest

pytest_plugins = ["pytester"]

PREAMBLE = """
import asyncio
import pytest
import raftline
from raftline.testing import Faults

class Counter(raftline.StateMachine):
    def __init__(self):
        self.total = 0
    def apply(self, command, index, time_ms):
        self.total += int(command)
        return b"%d" % self.total
    def read(self, query, time_ms):
        return b"%d" % self.total
    def snapshot(self):
        return [b"%d" % self.total]
    def restore(self, chunks):
        self.total = int(b"".join(chunks))
"""


def _run(pytester: pytest.Pytester, test: str, *options: str) -> pytest.RunResult:
    pytester.makepyfile(PREAMBLE + test)
    return pytester.runpytest_inprocess("-p", "no:cacheprovider", *options)


def test_a_marked_test_runs_once_per_seed(pytester: pytest.Pytester) -> None:
    """With other fixtures as usual, and a line that says what was simulated."""
    result = _run(
        pytester,
        """
seen = []

@pytest.fixture
def amount():
    return b"2"

@pytest.mark.simulate(machine=Counter, seeds=3, first_seed=7, faulty_s=2.0)
async def test_counts(simulation, amount):
    seen.append(simulation.seed)
    while simulation.faulty:
        try:
            await simulation.propose(amount)
        except raftline.ProposalError:
            pass
        await asyncio.sleep(0.1)

def test_seeds():
    assert seen == [7, 8, 9]
""",
    )
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["3 seeds, * virtual hours in *, * entries committed"])


def test_a_failure_names_the_seed_and_leaves_trace_and_history(pytester: pytest.Pytester) -> None:
    """And the command that it prints repeats it."""
    test = """
@pytest.mark.simulate(machine=Counter, seeds=5, faulty_s=2.0, faults=Faults())
async def test_small(simulation):
    await simulation.recorded("a", "add", simulation.propose(b"1"), entered=1, output=int)
    assert simulation.seed < 3, "too large"
"""
    result = _run(pytester, test)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*seed 3, * virtual s: AssertionError: too large*", "*again: *--simulate-seed 3"])
    files = sorted(path.suffix for path in (pytester.path / "artifacts").iterdir())
    assert files == [".jsonl", ".trace"]
    assert all(path.stat().st_size > 50 for path in (pytester.path / "artifacts").iterdir())
    again = pytester.runpytest_inprocess("-p", "no:cacheprovider", "--simulate-seed", "3")
    again.assert_outcomes(failed=1)
    again.stdout.fnmatch_lines(["*seed 3, * virtual s: AssertionError: too large*"])
    pytester.runpytest_inprocess("-p", "no:cacheprovider", "--simulate-seeds", "3").assert_outcomes(passed=1)


@pytest.mark.parametrize(
    ("mark", "test", "words"),
    [
        ("seeds=1", "async def test_x(simulation): pass", "*needs machine=*"),
        ("machine=Counter", "def test_x(simulation): pass", "*is for `async def` tests*"),
        ("machine=Counter", "async def test_x(): pass", "*take the argument `simulation`*"),
        ("machine=Counter, sedes=3", "async def test_x(simulation): pass", "*sedes*"),
        ("machine=Counter, seeds=0", "async def test_x(simulation): pass", "*0 seeds prove nothing*"),
        ("1, machine=Counter", "async def test_x(simulation): pass", "*takes keywords only*"),
        ("machine=Counter, seeds=2", "async def test_x(simulation): pass", "*never asked its cluster for anything*"),
    ],
)
def test_a_wrong_mark_is_refused_in_words(pytester: pytest.Pytester, mark: str, test: str, words: str) -> None:
    """What is missing, and where."""
    result = _run(pytester, f"\n@pytest.mark.simulate({mark})\n{test}\n")
    assert result.ret != 0
    result.stdout.fnmatch_lines([words])


COUNT = """
from raftline.linearizability.models import Counter as Model

@pytest.mark.simulate(machine=Counter, seeds=SEEDS, faulty_s=0.5, size=3, faults=Faults(), model=Model())
@pytest.mark.parametrize("amount", [1])
async def test_count(simulation, amount):
    add = simulation.propose(b"%d" % amount)
    await simulation.recorded("a", "add", add, entered=amount, output=lambda total: int(total) + WRONG)
"""


def test_many_seeds_are_split(pytester: pytest.Pytester) -> None:
    """So that processes can share them; all are run, and summed up; one seed is one again."""
    test = COUNT.replace("SEEDS", "52").replace("WRONG", "0")
    result = _run(pytester, test, "-v")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["*test_count*seeds0to49*", "*test_count*seeds50to51*", "52 seeds, *"])
    one = pytester.runpytest_inprocess("-p", "no:cacheprovider", "-v", "--simulate-seed", "51")
    one.stdout.fnmatch_lines(["*test_count?1?*", "1 seeds, *"])


def test_a_history_that_no_order_explains_is_drawn(pytester: pytest.Pytester) -> None:
    """The picture lies beside the history, which names its model; the command runs the seed without its portion."""
    test = COUNT.replace("SEEDS", "52").replace("WRONG", "(simulation.seed == 51)")
    result = _run(pytester, test)
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*no order explains*", "*again:*test_count?1?' --simulate-seed 51", "*picture:*.html"])
    history = next((pytester.path / "artifacts").glob("*.jsonl")).read_text(encoding="utf-8")
    assert history.startswith('{"history": 1, "model": "counter"}\n{"client": "a"')
    picture = next((pytester.path / "artifacts").glob("*.html")).read_text(encoding="utf-8")
    assert "<svg" in picture
