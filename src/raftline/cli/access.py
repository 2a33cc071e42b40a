"""How this process reaches nodes: in plain text or TLS, as whom, with which password; one value for a whole command.

`with_access` gives a command the options; whoever opens a connection asks `current_access`. It refuses to know what
is asked of a node. The password comes from a variable, because everybody on a machine may read command lines.
"""

import functools
import inspect
import os
from collections.abc import Callable
from typing import Annotated, Any

import msgspec
import typer

from raftline.cli.exit_codes import ExitCode
from raftline.cli.output import complain
from raftline.errors import ConfigError

__all__ = ["PASSWORD_VARIABLE", "Access", "current_access", "login_trouble", "use_access", "with_access"]

PASSWORD_VARIABLE = "RAFTLINE_PASSWORD"  # noqa: S105  where it is, not what it is


class Access(msgspec.Struct, frozen=True, kw_only=True):
    """What a client needs to be let in; files in PEM. Empty: not given."""

    tls: bool = False
    ca: str = ""
    """Authority of the nodes' certificates; empty: those that this system trusts."""
    cert: str = ""
    key: str = ""
    user: str = ""
    password: str = ""

    def __repr__(self) -> str:
        """Show no password, wherever this is shown."""
        return f"Access(tls={self.tls}, user={self.user!r})"

    def connection_options(self) -> dict[str, Any]:
        """Return the keywords for `redis.Connection`, or `redis.SSLConnection` if `tls`."""
        options: dict[str, Any] = {}
        if self.user or self.password:
            options |= {"username": self.user or None, "password": self.password}
        if self.tls:
            options |= {
                "ssl_cert_reqs": "required",
                "ssl_check_hostname": True,
                "ssl_ca_certs": self.ca or None,
                "ssl_certfile": self.cert or None,
                "ssl_keyfile": self.key or None,
            }
        return options

    def client_options(self) -> dict[str, Any]:
        """Return the keywords for `redis.Redis`."""
        return self.connection_options() | ({"ssl": True} if self.tls else {})


def login_trouble(error: Exception) -> str:
    """Say in words that a node did not let us in, and what to do."""
    if current_access().password:
        return f"{str(error).rstrip('.')}: correct the variable {PASSWORD_VARIABLE}, or --user"
    return f"log in: put the password into the variable {PASSWORD_VARIABLE}, and give --user unless it is default's"


_current = Access()


def current_access() -> Access:
    """Return how nodes are reached unless the caller says otherwise."""
    return _current


def use_access(access: Access) -> None:
    """Reach nodes like this from now on."""
    global _current  # noqa: PLW0603  a command is a process, and has one way to reach nodes
    _current = access


_OPTIONS: dict[str, Any] = {
    "tls": (bool, typer.Option("--tls", help="Speak TLS, and verify the node's certificate."), False),
    "tls_ca": (
        str,
        typer.Option("--tls-ca", metavar="FILE", help="Whose certificates to believe; with TLS."),
        "",
    ),
    "tls_cert": (str, typer.Option("--tls-cert", metavar="FILE", help="Certificate to show; with TLS."), ""),
    "tls_key": (str, typer.Option("--tls-key", metavar="FILE", help="Its key."), ""),
    "user": (
        str,
        typer.Option("--user", help=f"Log in as this user, with the password in the variable {PASSWORD_VARIABLE}."),
        "",
    ),
}


def with_access(command: Callable[..., None]) -> Callable[..., None]:
    """Return `command` with the options that say how to reach nodes, and have them used."""

    @functools.wraps(command)
    def run(*args: Any, **options: Any) -> None:
        chosen = {name: options.pop(name) for name in _OPTIONS}
        cert, key = chosen["tls_cert"], chosen["tls_key"]
        if bool(cert) != bool(key):
            complain("raftline: --tls-cert and --tls-key go together: give both, or neither")
            raise typer.Exit(ExitCode.CONFIG)
        if chosen["tls_ca"] or cert:
            _check_files(chosen["tls_ca"], cert, key)
        use_access(
            Access(
                tls=chosen["tls"] or bool(chosen["tls_ca"] or cert),
                ca=chosen["tls_ca"],
                cert=cert,
                key=key,
                user=chosen["user"],
                password=os.environ.get(PASSWORD_VARIABLE, ""),
            )
        )
        command(*args, **options)

    own = inspect.signature(command)
    added = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, option])
        for name, (kind, option, default) in _OPTIONS.items()
    ]
    run.__signature__ = own.replace(parameters=[*own.parameters.values(), *added])  # type: ignore[attr-defined]
    run.__annotations__ = command.__annotations__ | {parameter.name: parameter.annotation for parameter in added}
    return run


def _check_files(ca: str, cert: str, key: str) -> None:
    """Leave if a file cannot be used, and name it: a failed connection would not."""
    from raftline.transport.tls import check_client_files  # noqa: PLC0415  most commands need no TLS

    try:
        check_client_files(ca, cert, key)
    except ConfigError as error:
        complain(f"raftline: {error}; correct --tls-ca, --tls-cert or --tls-key")
        raise typer.Exit(ExitCode.CONFIG) from None
