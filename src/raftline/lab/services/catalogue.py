"""All tests of the service labs, in the course's order, and the selection of some by part or title."""

from raftline.lab.services import controller_tests, sharded_tests, store_tests
from raftline.lab.services.case import ServiceTest, ShardedTest

__all__ = ["SERVICE_PARTS", "SERVICE_TESTS", "find_services"]

SERVICE_TESTS: tuple[ServiceTest | ShardedTest, ...] = (
    *(test for test in store_tests.TESTS if test.part == "3A"),
    *(test for test in store_tests.TESTS if test.part == "3B"),
    *controller_tests.TESTS,
    *sharded_tests.TESTS,
)

SERVICE_PARTS = ("3A", "3B", "4A", "4B")


def find_services(name: str) -> tuple[ServiceTest | ShardedTest, ...]:
    """Return the tests of the part or with the title `name`, in any case; none if it names no service's test."""
    return tuple(test for test in SERVICE_TESTS if name.upper() == test.part or name.lower() == test.title.lower())
