"""From flags, variables and a file to `ServerSettings`: a flag counts before a variable, that before the file.

Each refusal says what is wrong, where it was written, and what to write instead.
"""

import difflib
import math
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import msgspec
from msgspec import Struct

from raftline.cli.output import DEBUG_VARIABLE
from raftline.cli.settings import (
    CONFIG_VARIABLE,
    VARIABLE_PREFIX,
    ServerSettings,
    Setting,
    limits_of,
    node_config_of,
    settings_table,
)
from raftline.errors import ConfigError
from raftline.kv.commands.cluster import NAME
from raftline.transport.address import parse_address, parse_client_address

__all__ = ["Loaded", "load_settings", "parse_cluster"]

_SIZE = re.compile(r"(\d+)\s*(B|KiB|MiB|GiB)?")
_SIZE_UNITS = {None: 1, "B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}


class Loaded(Struct, frozen=True):
    """Settings, where each one that is no default was written, and what was written but means nothing."""

    settings: ServerSettings
    origins: dict[str, str]
    unknown_variables: tuple[str, ...] = ()


def load_settings(flags: Mapping[str, str | None], environ: Mapping[str, str], config: str | None = None) -> Loaded:
    """Put the settings together: flag, then variable, then file, then default; raise ConfigError with the place.

    `flags` maps setting names to what was written, None where nothing was; `config` is the path of a TOML file, else
    `RAFTLINE_CONFIG` names one.
    """
    path = config or environ.get(CONFIG_VARIABLE) or None
    in_file = _read_file(path) if path else {}
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    rows = settings_table()
    for row in rows:
        origin, written = _find(row, flags, environ, in_file, path)
        if origin:
            values[row.name] = _value_of(row, written, origin)
            origins[row.name] = origin
        elif row.required:
            raise ConfigError(
                f"{row.name} is not set: give {row.flag} {row.metavar}, the variable {row.variable}, "
                f"or the key '{row.name}' in the file that --config names"
            )
    settings = ServerSettings(**values)
    _check(settings, origins)
    known = {row.variable for row in rows} | {CONFIG_VARIABLE, DEBUG_VARIABLE}
    unknown = tuple(sorted(name for name in environ if name.startswith(VARIABLE_PREFIX) and name not in known))
    return Loaded(settings, origins, unknown)


def parse_cluster(written: str) -> dict[str, str]:
    """Read `n1=host:port,n2=host:port@busport,...`; raise ConfigError saying which part is wrong."""
    cluster: dict[str, str] = {}
    for part in written.split(","):
        name, equals, address = part.strip().partition("=")
        if not equals or not name.strip():
            raise ConfigError(f"{part.strip()!r} is no member: write name=host:port, as in n1=127.0.0.1:7001")
        if name.strip() in cluster:
            raise ConfigError(f"the name {name.strip()!r} stands there twice: give each node its own")
        cluster[name.strip()] = address.strip()
    return cluster


def _find(
    row: Setting, flags: Mapping[str, str | None], environ: Mapping[str, str], in_file: dict[str, Any], path: str | None
) -> tuple[str, Any]:
    """Return where `row` was written and what; ("", None) if nowhere. An empty variable counts as not set."""
    if (flag := flags.get(row.name)) is not None:
        return row.flag, flag
    if variable := environ.get(row.variable):
        return f"variable {row.variable}", variable
    if row.name in in_file:
        return f"{path}, key '{row.name}'", in_file[row.name]
    return "", None


def _read_file(path: str) -> dict[str, Any]:
    """Return the keys of a TOML file; raise ConfigError if it cannot be read or has keys that mean nothing."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
        raise ConfigError(f"settings file {path}: cannot be read: {reason}; correct --config or the file") from error
    try:
        keys = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"settings file {path}: not valid TOML: {error}") from None
    known = [row.name for row in settings_table()]
    for key in keys:
        if key not in known:
            raise ConfigError(f"{path}, key '{key}': there is no such setting{_meant(key, known)}")
    return keys


def _meant(word: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(word.replace("-", "_"), list(known), n=1)
    return f"; did you mean '{close[0]}'?" if close else "; `raftline server --help` lists them"


def _value_of(row: Setting, written: Any, origin: str) -> Any:
    """Turn what was written, text or a TOML value, into the setting's type; raise ConfigError with the place."""
    try:
        value = _parser(row)(written)
        return msgspec.convert(value, row.type)
    except msgspec.ValidationError as error:
        shown = "what is there" if row.is_secret else _shown(written)
        raise ConfigError(f"{origin}: {shown} cannot be used: {_in_words(str(error), row)}") from None
    except ConfigError as error:
        raise ConfigError(f"{origin}: {error}") from None


def _parser(row: Setting) -> Callable[[Any], Any]:
    base = row.base
    if row.unit in ("bytes", "bytes per second"):
        return _size
    if base is int:
        return _integer
    if base is float:
        return _number
    if get_origin(base) is dict:
        return lambda written: parse_cluster(written) if isinstance(written, str) else written
    if get_origin(base) is tuple:
        return _range
    return lambda written: written


def _size(written: Any) -> Any:
    if not isinstance(written, str):
        return _integer(written)
    found = _SIZE.fullmatch(written.strip())
    if found is None:
        raise ConfigError(f"{_shown(written)} is no size: write bytes, as in 1048576, 1024KiB or 1MiB")
    return int(found[1]) * _SIZE_UNITS[found[2]]


def _integer(written: Any) -> Any:
    if isinstance(written, str):
        text = written.strip()
        if not re.fullmatch(r"-?\d{1,18}", text):
            raise ConfigError(f"{_shown(written)} is no whole number: write digits, as in 1000")
        return int(text)
    if isinstance(written, bool) or not isinstance(written, int):
        raise ConfigError(f"{_shown(written)} is no whole number: write digits, as in 1000")
    return written


def _number(written: Any) -> float:
    try:
        if isinstance(written, bool):
            raise TypeError  # noqa: TRY301  answered below
        value = float(written)
    except (TypeError, ValueError):
        raise ConfigError(f"{_shown(written)} is no number: write it as in 0.5") from None
    if not math.isfinite(value):
        raise ConfigError(f"{_shown(written)} is no number that can be waited for: write it as in 0.5")
    return value


def _range(written: Any) -> tuple[float, ...]:
    parts = written.split(",") if isinstance(written, str) else written
    if not isinstance(parts, list) or len(parts) != 2:
        raise ConfigError(f"{_shown(written)} is no range: write low,high (in TOML [low, high]), as in 0.4,0.8")
    return tuple(_number(part) for part in parts)


def _shown(written: Any) -> str:
    text = repr(written)
    return text if len(text) <= 100 else text[:97] + "..."


def _in_words(error: str, row: Setting) -> str:
    """Rephrase a msgspec message: `Expected `int` >= 1` becomes `it must be >= 1 (bytes)`."""
    base = row.base
    if get_origin(base) is Literal:
        return "write one of " + ", ".join(get_args(base))
    bound = re.search(r"Expected `\w+` ([<>]=?) ([-\d.]+)", error)
    unit = f" {row.unit}" if row.unit else ""
    if bound:
        return f"it must be {bound[1]} {bound[2]}{unit}"
    return f"{error[:1].lower()}{error[1:].replace('`', '')}; write {row.metavar}"


def _check(settings: ServerSettings, origins: dict[str, str]) -> None:
    """Refuse settings that cannot work together; name the one to change."""

    def where(name: str) -> str:
        return f"{origins.get(name, name)}: "

    _check_names(settings, where)
    if not settings.data_dir.strip():
        raise ConfigError(f"{where('data_dir')}it is empty: name a directory of this node's own")
    _check_addresses(settings.cluster, where("cluster"))
    low, high = settings.election_timeout_s
    if not low < high:
        raise ConfigError(f"{where('election_timeout_s')}low must be below high, not {low},{high}")
    if low < 2 * settings.heartbeat_interval_s:
        raise ConfigError(
            f"{where('election_timeout_s')}it starts at {low} s, which is less than two heartbeats of "
            f"{settings.heartbeat_interval_s} s: raise it, or lower heartbeat_interval_s"
        )
    for name in ("key_bytes_max", "value_bytes_max"):
        if getattr(settings, name) > settings.request_bytes_max:
            raise ConfigError(
                f"{where(name)}{getattr(settings, name)} is above request_bytes_max, {settings.request_bytes_max}: "
                "no such request would be taken; lower it, or raise request_bytes_max"
            )
    _check_tls(settings, where)
    _check_metrics(settings, where)
    limits_of(settings)
    node_config_of(settings)


def _check_metrics(settings: ServerSettings, where: Callable[[str], str]) -> None:
    """Refuse a monitoring port that cannot be read, or that is one of the node's other ports."""
    if not settings.metrics:
        return
    wanted = parse_client_address(settings.metrics)
    if wanted is None:
        raise ConfigError(f"{where('metrics')}{_shown(settings.metrics)} is no address: write host:port")
    own = parse_address(settings.listen or settings.cluster[settings.id])
    if wanted.port in (own.port, own.bus_port):
        raise ConfigError(f"{where('metrics')}port {wanted.port} is taken by this node's clients or peers: use another")


def _check_tls(settings: ServerSettings, where: Callable[[str], str]) -> None:
    """Refuse TLS without what it takes, and files that nothing would use; the start shows whether they are good."""
    files = {name: getattr(settings, name) for name in ("tls_cert", "tls_key", "tls_ca")}
    if settings.tls_clients == settings.tls_peers == "off":
        for name, path in files.items():
            if path:
                raise ConfigError(
                    f"{where(name)}it is given, but no port speaks TLS: give --tls-clients on, or mutual, "
                    "--tls-peers mutual, or both"
                )
        return
    is_mutual = "mutual" in {settings.tls_clients, settings.tls_peers}
    asking = "tls_clients" if settings.tls_clients != "off" else "tls_peers"
    for name in ("tls_cert", "tls_key", *(["tls_ca"] if is_mutual else [])):
        if not files[name]:
            asking = "tls_peers" if name == "tls_ca" and settings.tls_clients != "mutual" else asking
            raise ConfigError(f"{where(asking)}{getattr(settings, asking)} needs {name}, a PEM file")


def _check_names(settings: ServerSettings, where: Callable[[str], str]) -> None:
    """Refuse names that do not fit into logs and INFO lines, and a node that is not of the cluster."""
    _check_how_it_begins(settings, where)
    names = [
        ("id", settings.id),
        *([("cluster_id", settings.cluster_id)] if settings.cluster_id else []),
        *(("cluster", name) for name in settings.cluster),
    ]
    for setting, name in names:
        if not NAME.fullmatch(name):
            raise ConfigError(
                f"{where(setting)}{_shown(name)} is no name: "
                "use 1 to 64 letters, digits, '.', '_' or '-', a letter or digit first"
            )
    if settings.cluster and settings.id not in settings.cluster:
        raise ConfigError(
            f"{where('id')}{settings.id!r} is not in the cluster ({', '.join(settings.cluster)}): "
            "add it there or correct the name"
        )


def _check_how_it_begins(settings: ServerSettings, where: Callable[[str], str]) -> None:
    """Refuse a node that knows neither its cluster nor its own address, or is told both ways to begin."""
    if settings.join:
        if settings.cluster:
            raise ConfigError(
                f"{where('join')}`cluster` is given, too: a new cluster has --cluster on every node, "
                "a node that is added to one has --join and --listen"
            )
        if parse_client_address(settings.join) is None:
            raise ConfigError(f"{where('join')}{_shown(settings.join)} is no address: write host:port of any node")
    if not settings.cluster and not settings.listen:
        raise ConfigError(
            "cluster is not set: for a new one give --cluster NAME=HOST:PORT,..., the variable RAFTLINE_CLUSTER, or "
            "the key 'cluster' in the file that --config names; for a node that is to be added to one, --listen "
            "HOST:PORT (its own address) and --join HOST:PORT (any node's)"
        )
    if settings.listen:
        try:
            parse_address(settings.listen)
        except ConfigError as error:
            raise ConfigError(f"{where('listen')}{error}") from None
        _check_joins_another(settings, where)


def _check_joins_another(settings: ServerSettings, where: Callable[[str], str]) -> None:
    """Refuse a node that would wait for an answer of its own."""
    own, other = parse_address(settings.listen), parse_client_address(settings.join) if settings.join else None
    if other is not None and other.host == own.host and other.port in (own.port, own.bus_port):
        raise ConfigError(
            f"{where('join')}{_shown(settings.join)} is this node's own address: name another node, of the cluster "
            "that it is to be added to"
        )


def _check_addresses(cluster: dict[str, str], where: str) -> None:
    """Refuse addresses that cannot be read, and two listeners on one port."""
    taken: dict[tuple[str, int], str] = {}
    for name, text in cluster.items():
        try:
            address = parse_address(text)
        except ConfigError as error:
            raise ConfigError(f"{where}{name}: {error}") from None
        for port, what in ((address.port, f"{name}'s client port"), (address.bus_port, f"{name}'s bus port")):
            other = taken.setdefault((address.host, port), what)
            if other != what:
                raise ConfigError(f"{where}{what} is {address.host}:{port}, and so is {other}: give each its own")
