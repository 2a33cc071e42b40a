"""All 25 tests in the course's order, and the selection of some by part or name."""

from collections.abc import Iterable

from raftline.errors import ConfigError
from raftline.lab.tests import agreement, elections, persistence, snapshots
from raftline.lab.tests.case import LabTest

__all__ = ["PARTS", "TESTS", "select"]

TESTS: tuple[LabTest, ...] = (*elections.TESTS, *agreement.TESTS, *persistence.TESTS, *snapshots.TESTS)

PARTS = ("2A", "2B", "2C", "2D")


def select(names: Iterable[str]) -> tuple[LabTest, ...]:
    """Return the tests of the parts and titles named, in the course's order; all without names.

    A title may be cut short or in any case, as long as it begins or contains exactly what is meant: `churn` is both
    churn tests. Raises `ConfigError` for a name that no test has.
    """
    wanted: set[LabTest] = set()
    for name in names:
        found = [test for test in TESTS if name.upper() == test.part]
        found = found or [test for test in TESTS if name.lower() == test.title.lower()]
        found = found or [test for test in TESTS if name.lower() in test.title.lower()]
        if not found:
            titles = ", ".join(test.title for test in TESTS)
            parts = f"{', '.join(PARTS)} (3A to 4B run our own services)"
            raise ConfigError(f"no test is called {name!r}; there are the parts {parts} and: {titles}")
        wanted.update(found)
    return tuple(test for test in TESTS if test in wanted) if wanted else TESTS
