"""One connection to a node for the commands that ask it to do something, with errors that say who refused what.

`node_info` asks what a node knows; this asks it to act, on a single connection, without retries of its own.
"""

from types import TracebackType
from typing import Any, Self

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from raftline.cli.access import current_access, login_trouble
from raftline.cli.exit_codes import ExitCode
from raftline.cli.node_info import Unreachable, not_a_server
from raftline.errors import ConfigError, OperatingError
from raftline.kv.refusals import NOTHING_CHANGED
from raftline.transport.address import parse_client_address

__all__ = ["Asker", "NoLeaderNow", "NodeRefusal", "OutsideGroup", "pairs_of"]

_OUTSIDE = "NOTMEMBER "


class NodeRefusal(OperatingError):
    """A node answered with an error; says which node and in its words."""

    exit_code = ExitCode.TROUBLE


class NoLeaderNow(NodeRefusal):
    """No leader decided: there is none yet, or it was lost meanwhile. What does no harm twice can be asked again."""

    def __init__(self, text: str, *, may_take_effect: bool) -> None:
        super().__init__(text)
        self.may_take_effect = may_take_effect
        """What was asked for may have been done, or may still be."""


class OutsideGroup(NodeRefusal):
    """The node is in no group (any more): nothing was changed, and no leader will answer through it."""


class Asker:
    """A connection to the node at `HOST:PORT`; a context manager. `timeout_s` is the longest wait for one answer.

    Raises ConfigError if that is no address, Unreachable if nobody is there.
    """

    def __init__(self, target: str, timeout_s: float) -> None:
        address = parse_client_address(target)
        if address is None:
            raise ConfigError(f"{target!r} is no address: write HOST:PORT, as in 127.0.0.1:7001")
        self.target = target
        self._timeout_s = timeout_s
        access = current_access()
        kind: Any = redis.SSLConnection if access.tls else redis.Connection
        self._connection: Any = kind(
            host=address.host,
            port=address.port,
            socket_timeout=timeout_s,
            socket_connect_timeout=min(timeout_s, 5.0),
            retry=Retry(NoBackoff(), 0),
            **access.connection_options(),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.disconnect()

    def ask(self, *words: object) -> Any:
        """Send one command and return its reply; raises `NodeRefusal`, `Unreachable`."""
        return self.ask_all([words])[0]

    def ask_all(self, commands: list[tuple[object, ...]]) -> list[Any]:
        """Send several commands at once and return their replies; raises `NodeRefusal` for the first error."""
        try:
            for words in commands:
                self._connection.send_command(*words)
            return [self._connection.read_response() for _ in commands]
        except redis.AuthenticationError as error:
            raise NodeRefusal(f"{self.target}: {login_trouble(error)}") from None
        except (redis.exceptions.ClusterDownError, redis.exceptions.TryAgainError) as error:
            is_sure = isinstance(error, redis.exceptions.TryAgainError) or NOTHING_CHANGED in str(error)
            raise NoLeaderNow(f"{self.target} refuses: {error}", may_take_effect=not is_sure) from None
        except redis.ResponseError as error:
            if str(error).startswith(_OUTSIDE):
                raise OutsideGroup(f"{self.target} refuses: {str(error).removeprefix(_OUTSIDE)}") from None
            raise NodeRefusal(f"{self.target} refuses: {error}") from None
        except redis.TimeoutError:
            raise Unreachable(f"{self.target} does not answer within {self._timeout_s:g} s") from None
        except redis.InvalidResponse:
            raise not_a_server(self.target) from None
        except redis.RedisError as error:
            raise Unreachable(f"{self.target}: {str(error).rstrip('.')}") from None


def pairs_of(reply: Any) -> dict[str, Any]:
    """Read a map as RESP2 (a flat list) or RESP3 gives it."""
    pairs = reply.items() if isinstance(reply, dict) else zip(reply[::2], reply[1::2], strict=True)
    return {key.decode(): value for key, value in pairs}
