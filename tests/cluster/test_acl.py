"""Users and passwords on real processes: on every node, over restarts and snapshots, and in no line of output."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import redis

import raftline as raftline_package
from raftline.cli.access import Access

if TYPE_CHECKING:
    from raftline.cli.local_cluster import LocalCluster

OWN = "marker-of-the-settings"
MARKER = "marker-of-a-user"
SETTINGS = {"snapshot_log_entries": 20, "log_level": "debug"}
ACCESS = Access(password=OWN)


def raftline(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run the command line as people do."""
    command = [sys.executable, "-m", "raftline.cli.main", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)


@pytest.fixture(scope="module", autouse=True)
def _password() -> Iterator[None]:
    """Give the nodes, and the commands, a password by a variable."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAFTLINE_PASSWORD", OWN)
        yield


def know_all(cluster: "LocalCluster") -> None:
    """Let every node's copy of the users be as new as the newest: a read there shows all that was done before it."""
    for name in cluster.nodes:
        cluster.client(name).get("key0")


@pytest.fixture
def guarded(shared_cluster: "LocalCluster") -> "LocalCluster":
    """Return a cluster with a password, and without users of earlier tests."""
    shared_cluster.client("n1").acl_deluser("alice")
    return shared_cluster


def test_users_are_everywhere_and_stay(guarded: "LocalCluster") -> None:
    """A user made on one node can log in on every other, after a snapshot and a restart, too, within its rules."""
    admin = guarded.client(guarded.followers()[0])
    admin.acl_setuser("alice", enabled=True, passwords=["+" + MARKER], keys=["a:*"], commands=["+get", "+set"])
    for number in range(50):
        admin.set(f"key{number}", number)
    know_all(guarded)
    for name in guarded.nodes:
        client = guarded.client(name, username="alice", password=MARKER)
        assert client.set("a:1", name)
        with pytest.raises(redis.exceptions.NoPermissionError, match="access one of the keys"):
            client.get("b")
        with pytest.raises(redis.exceptions.NoPermissionError, match="run the 'del' command"):
            client.delete("a:1")
        with pytest.raises(redis.AuthenticationError):
            guarded.client(name, username="alice", password="wrong").ping()  # noqa: S106  no password
    guarded.kill9()
    guarded.start()
    guarded.wait_for_leader()
    know_all(guarded)
    assert guarded.client("n3", username="alice", password=MARKER).get("a:1") == b"n3"


def test_redis_py_logs_in_with_either_protocol(guarded: "LocalCluster") -> None:
    """AUTH and HELLO with a password work as redis-py sends them; without one nothing works."""
    for protocol in (2, 3):
        assert guarded.client("n1", protocol=protocol).ping()
        with pytest.raises(redis.AuthenticationError):
            guarded.client("n1", protocol=protocol, password=None).ping()
        with pytest.raises(redis.AuthenticationError):
            guarded.client("n1", protocol=protocol, password="wrong").ping()  # noqa: S106  no password


def test_commands_log_in_with_the_variable(guarded: "LocalCluster", monkeypatch: pytest.MonkeyPatch) -> None:
    """`raftline status` gives the password of RAFTLINE_PASSWORD, and says what is wrong without it."""
    target = f"127.0.0.1:{guarded.nodes['n1'].port}"
    assert raftline("status", target, "--timeout-s", 30).returncode == 0
    monkeypatch.setenv("RAFTLINE_PASSWORD", "wrong")
    done = raftline("status", target)
    assert done.returncode == 69
    assert "invalid username-password pair" in done.stderr
    monkeypatch.delenv("RAFTLINE_PASSWORD")
    done = raftline("status", target)
    assert done.returncode == 69
    assert "log in: put the password into the variable RAFTLINE_PASSWORD" in done.stderr
    assert "RAFTLINE_PASSWORD" in raftline("transfer", "--node", target).stderr


def test_commands_log_in_as_who_they_are_told_to(guarded: "LocalCluster", monkeypatch: pytest.MonkeyPatch) -> None:
    """Also without a password in the variable: not as `default`, which may do more than the user that was named."""
    monkeypatch.delenv("RAFTLINE_PASSWORD", raising=False)
    guarded.client("n1").acl_setuser("alice", enabled=True, nopass=True, commands=["+get"])
    asked = ["transfer", "--node", f"127.0.0.1:{guarded.nodes['n1'].port}", "--user"]
    done = raftline(*asked, "alice")
    assert done.returncode == 1
    assert "this user has no permissions" in done.stderr
    guarded.client("n1").acl_setuser("alice", enabled=True, reset_passwords=True, passwords=["+" + MARKER])
    done = raftline(*asked, "alice")
    assert done.returncode == 1
    assert "put the password into the variable RAFTLINE_PASSWORD" in done.stderr


def test_our_client_works_as_a_restricted_user(guarded: "LocalCluster") -> None:
    """raftline.Client logs in on every node, and needs the few rights that docs/security.md names."""
    needed = ["+command", "+raftline.session", "+raftline.once", "+raftline.member|list"]
    guarded.client("n1").acl_setuser(
        "alice", enabled=True, passwords=["+" + MARKER], keys=["a:*"], commands=["+set", "+get", *needed]
    )
    know_all(guarded)
    nodes = ",".join(f"127.0.0.1:{node.port}" for node in guarded.nodes.values())
    with raftline_package.Client(nodes, username="alice", password=MARKER) as client:
        assert client.set("a:1", "x")
        assert client.get("a:1") == b"x"
        with pytest.raises(redis.exceptions.NoPermissionError):
            client.set("b", "x")
        with pytest.raises(redis.exceptions.NoPermissionError):
            client.execute_command("DEL", "a:1")


def test_no_password_is_in_any_output(guarded: "LocalCluster", tmp_path: Path) -> None:
    """After logins, wrong ones and changes of users no log, answer, command line, file or backup holds a password."""
    admin: Any = guarded.client("n1")
    admin.acl_setuser("alice", enabled=True, passwords=["+" + MARKER], keys=["*"], commands=["+@all"])
    know_all(guarded)
    alice = guarded.client("n2", username="alice", password=MARKER)
    assert alice.ping()
    with pytest.raises(redis.AuthenticationError):
        guarded.client("n2", username="alice", password=MARKER + "x").ping()
    with pytest.raises(redis.AuthenticationError):
        guarded.client("n2", password=OWN + "x").ping()
    with pytest.raises(redis.ResponseError):
        admin.execute_command("ACL", "SETUSER", "alice", ">" + MARKER, "nonsense")
    with pytest.raises(redis.ResponseError):
        admin.execute_command("ACL", "SETUSER", "alice", "<" + MARKER + "y")
    for number in range(30):
        admin.set(f"key{number}", number)
    told = [str(admin.execute_command(*words.split())) for words in (
        "INFO all", "CONFIG GET *", "CLIENT LIST", "ACL LIST", "ACL LOG", "ACL GETUSER alice",
    )]  # fmt: skip
    assert raftline("backup", f"127.0.0.1:{guarded.nodes['n1'].port}", tmp_path / "backup").returncode == 0
    for name, node in guarded.nodes.items():
        told += [node.log(), node.out_path.read_text(), Path(f"/proc/{node.pid}/cmdline").read_text()]
        told += [str(guarded.client(name).info())]
        told += [path.read_bytes().decode("latin-1") for path in node.data_dir.rglob("*") if path.is_file()]
    told.append((tmp_path / "backup").read_bytes().decode("latin-1"))
    for text in told:
        assert MARKER not in text
        assert OWN not in text


def test_the_password_has_no_flag(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes from a variable or the settings file; the help and errors about it show none."""
    monkeypatch.delenv("RAFTLINE_PASSWORD")
    assert raftline("server", "--password", "x").returncode == 2
    assert "--password" not in raftline("server", "--help").stdout
    file = tmp_path / "settings.toml"
    file.write_text(f'id = "n1"\ndata_dir = "x"\npassword = ["{OWN}"]')
    done = raftline("server", "--config", file)
    assert done.returncode == 2
    assert "key 'password': what is there cannot be used" in done.stderr
    assert OWN not in done.stderr + done.stdout
    monkeypatch.setenv("RAFTLINE_PASSWORD", OWN)
    done = raftline("server", "--id", "n1")
    assert done.returncode == 2
    assert OWN not in done.stderr + done.stdout
