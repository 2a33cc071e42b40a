"""`raftline member` and `raftline transfer` against a node that says what a test wants."""

import contextlib
import json
import socketserver
import threading
from collections.abc import Callable, Iterator

import hiredis
import pytest
from typer.testing import CliRunner

from raftline.cli import member as member_module
from raftline.cli.asking import Asker, NoLeaderNow
from raftline.cli.main import app
from raftline.cli.node_info import NodeInfo, Unreachable, ask_node, parse_info

Lines = Callable[..., str]
Member = dict[str, object]

ANSWER_S_MAX = 60.0
"""Nobody who answers is waited for so long."""


class Scripted(socketserver.ThreadingTCPServer):
    """A leader whose INFO shows `members` and whose other answers are in `replies`; it notes what it was asked."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[str] = []
        self.reply = b"+OK\r\n"
        self.first_replies: list[bytes] = []
        """What comes before it."""
        self.term = 4
        self.looks = 0
        self.grow_after = 0
        """After so many looks n4 votes."""
        self.has_newcomer = False
        self.refused_looks = 0
        """So many come to nothing first."""
        self.role = "leader"

    @property
    def where(self) -> str:
        """Its address."""
        return f"127.0.0.1:{self.server_address[1]}"

    def answer(self, words: list[str]) -> bytes:
        """Carry out a command."""
        if words[0] == "CLIENT":
            return b"+OK\r\n"
        if words[0] == "INFO":
            self.looks += 1
            if self.looks <= self.refused_looks:
                return b"-ERR not now\r\n"
            body = self._info().encode()
            return b"$%d\r\n%b\r\n" % (len(body), body)
        self.asked.append(" ".join(words))
        return self.first_replies.pop(0) if self.first_replies else self.reply

    def _info(self) -> str:
        port = self.server_address[1]
        fields = {
            "node_id": "n1", "role": self.role, "leader_id": "n1", "term": self.term, "snapshot_index": 0,
            "cluster_id": "raftline", "applied_index": 90, "commit_index": 90, "last_index": 100,
        }  # fmt: skip
        lines = [f"raft_{name}:{value}" for name, value in fields.items()]
        members = [f"node_id=n1,address=127.0.0.1:{port}@1,voter=1,role=leader,lag_entries=0"]
        if self.has_newcomer:
            votes = int(self.looks > self.grow_after)
            members.append(f"node_id=n4,address=h:4@5,voter={votes},role=learner,lag_entries=40,mode=replicate")
        lines += [f"raft_member{number}:{text}" for number, text in enumerate(members)]
        return "\r\n".join(["# Raft", *lines, ""])


class _Handler(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        """Answer command after command."""
        assert isinstance(self.server, Scripted)
        reader = hiredis.Reader()
        with contextlib.suppress(ConnectionError):
            while data := self.request.recv(65536):
                reader.feed(data)
                while (command := reader.gets()) is not False:
                    words = [word.decode() for word in command]
                    hello = b"%1\r\n$5\r\nproto\r\n:3\r\n"
                    self.request.sendall(hello if words[0] == "HELLO" else self.server.answer(words))


@pytest.fixture
def leader() -> Iterator[Scripted]:
    """A leader that is alone in its group and agrees to everything."""
    server = Scripted()
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look again at once; at the addresses of newcomers that tests name n4 answers."""
    monkeypatch.setattr(member_module, "_POLL_S", 0.0)
    numbers = ("term", "commit_index", "applied_index", "last_index", "snapshot_index")
    waiting = parse_info(
        "\n".join(["raft_node_id:n4", "raft_role:waiting", *(f"raft_{key}:0" for key in numbers)]), "h"
    )

    def ask(host: str, port: int, _: float) -> NodeInfo:
        return waiting if host in {"h", "elsewhere"} or port == 7004 else ask_node(host, port, ANSWER_S_MAX)

    monkeypatch.setattr(member_module, "ask_node", ask)


class Clock:
    """The time of a command."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def monotonic(self) -> float:
        """Tell it."""
        return self.now_s

    def sleep(self, duration_s: float) -> None:
        """Let it pass."""
        self.now_s += duration_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Let commands wait in it, a second between two looks."""
    time = Clock()
    monkeypatch.setattr(member_module, "time", time)
    monkeypatch.setattr(member_module, "_POLL_S", 1.0)
    return time


def run(leader: Scripted, *arguments: str) -> tuple[int, str, str]:
    """Run a command against the leader; return exit code, output and complaints."""
    result = CliRunner().invoke(app, [*arguments, "--node", leader.where])
    return result.exit_code, result.stdout, result.stderr


def test_an_added_node_is_waited_for_until_it_votes(leader: Scripted) -> None:
    """The address is sent in full; the command ends when the leader counts the node among the voters."""
    leader.has_newcomer, leader.grow_after = True, 5
    code, out, err = run(leader, "member", "add", "n4=127.0.0.1:7004")
    assert (code, err) == (0, "")
    assert out == "n4 votes now; 2 voters: n1, n4\n"
    assert leader.asked == ["RAFTLINE.MEMBER ADD n4 127.0.0.1:7004@17004"]
    assert leader.looks == 6


def test_a_newcomer_that_does_not_answer_is_told_at_once(leader: Scripted) -> None:
    """With how to start it; the command goes on, since it may be about to start."""
    leader.has_newcomer = True
    code, out, err = run(leader, "member", "add", "n4=127.0.0.1:1@2")
    assert (code, out) == (0, "n4 votes now; 2 voters: n1, n4\n")
    assert err.startswith("raftline member add: n4 does not answer yet (127.0.0.1:1: ")
    assert "is it started? raftline server --id n4 --listen 127.0.0.1:1 --join ... Waiting for it" in err


@pytest.mark.parametrize("verb", ["add", "move"])
def test_the_address_of_somebody_else_changes_nothing(
    leader: Scripted, fake_node: Callable[..., int], verb: str
) -> None:
    """Another node, a port for peers, another kind of server: the leader is not even asked."""
    port = leader.server_address[1]
    code, _, err = run(leader, "member", verb, f"n4=127.0.0.1:{port}@1")
    words = f"raftline member {verb}: at 127.0.0.1:{port} is n1, not n4: correct the address. Nothing was changed\n"
    assert (code, err) == (2, words)
    port = fake_node(raw=b"RLp1\x00\x00")
    code, _, err = run(leader, "member", verb, f"n4=127.0.0.1:{port}@1")
    assert (code, f"127.0.0.1:{port} answers, but not as a raftline server does" in err) == (2, True)
    assert "is it the port for peers?" in err
    assert leader.asked == []


@pytest.mark.parametrize(
    ("verb", "found", "words"),
    [
        ("add", {"cluster_id": "other", "role": "waiting"}, "is n4 of cluster 'other', not 'raftline'"),
        ("move", {"cluster_id": "other", "role": "follower"}, "is n4 of cluster 'other', not 'raftline'"),
        ("add", {"cluster_id": "raftline", "role": "follower"}, "is n4 of another group (n4, n5)"),
        ("add", {"cluster_id": "raftline", "role": "leader"}, "is n4 of another group (n4, n5)"),
    ],
)
def test_a_node_of_another_cluster_is_left_alone(
    leader: Scripted, fake_node: Callable[..., int], lines_of: Lines, verb: str, found: dict[str, str], words: str
) -> None:
    """By its cluster's id, or, as that may be the same, by its members: the leader is not even asked."""
    port = fake_node(lines_of("n4", {"n4": 7104, "n5": 7105}, **found))
    code, _, err = run(leader, "member", verb, f"n4=127.0.0.1:{port}@1", "--timeout-s", "0.1")
    assert (code, f"at 127.0.0.1:{port} {words}: correct the address" in err) == (2, True), err
    assert leader.asked == []


@pytest.mark.parametrize("role", ["waiting", "removed", "stranger"])
def test_a_node_that_is_out_of_every_group_can_be_added(
    leader: Scripted, fake_node: Callable[..., int], lines_of: Lines, role: str
) -> None:
    """Whoever was with it before; it goes on with the first word of a leader."""
    leader.has_newcomer = True
    port = fake_node(lines_of("n4", {"n7": 7107}, cluster_id="raftline", role=role))
    assert run(leader, "member", "add", f"n4=127.0.0.1:{port}@1")[0] == 0
    assert leader.asked == [f"RAFTLINE.MEMBER ADD n4 127.0.0.1:{port}@1"]


def test_an_addition_can_be_asked_for_again(leader: Scripted) -> None:
    """Whose outcome nobody saw: the node is a member at this address, so only the rest is waited for."""
    leader.has_newcomer, leader.grow_after = True, 5
    leader.reply = b"-ERR n4 is a learner already, at h:4@5\r\n"
    assert run(leader, "member", "add", "n4=h:4@5") == (0, "n4 votes now; 2 voters: n1, n4\n", "")
    code, _, err = run(leader, "member", "add", "n4=h:4@5", "--learner")
    assert (code, "n4 is a learner already" in err) == (1, True), "it votes"
    code, _, err = run(leader, "member", "add", "n4=elsewhere:1")
    assert (code, "n4 is a learner already, at h:4@5" in err) == (1, True), "at another address"


def test_programs_get_the_outcome_as_a_document(leader: Scripted) -> None:
    """One line on standard output, done or not; the exit code is the same as without."""
    commands = (
        "member remove n2", "member promote n2", "member priority n2 3", "member move n4=h:9",
        "member add n4=h:9 --learner", "transfer",
    )  # fmt: skip
    for arguments in (command.split() for command in commands):
        code, out, err = run(leader, *arguments, "--json")
        outcome = json.loads(out)
        what = " ".join(arguments[:2]) if arguments[0] == "member" else "transfer"
        assert (code, err, outcome["command"], outcome["done"], outcome["exit_code"]) == (0, "", what, True, 0)
    assert outcome["text"] == "n1 leads now, in term 4"
    leader.reply = b"-ERR n2 is no member; there are n1\r\n"
    code, out, err = run(leader, "member", "remove", "n2", "--json")
    text = f"{leader.where} refuses: n2 is no member; there are n1"
    assert (code, err) == (1, "")
    assert json.loads(out) == {"command": "member remove", "done": False, "text": text, "exit_code": 1}


def test_a_learner_is_not_waited_for(leader: Scripted) -> None:
    """It never votes by itself, so there is nothing to wait for."""
    code, out, _ = run(leader, "member", "add", "n4=h:1@2", "--learner")
    assert code == 0
    assert out.startswith("n4 is a learner: it receives the log and does not vote")
    assert leader.asked == ["RAFTLINE.MEMBER ADD n4 h:1@2 LEARNER"]
    assert leader.looks == 0


@pytest.mark.usefixtures("clock")
def test_a_node_that_does_not_catch_up_is_told(leader: Scripted) -> None:
    """The cluster goes on with it; the command ends with 1 and says where to look."""
    leader.has_newcomer, leader.grow_after = True, 10**9
    code, out, err = run(leader, "member", "add", "n4=h:1", "--timeout-s", "3")
    assert (code, out, leader.looks) == (1, "", 3)
    assert "n4 has not caught up within 3 s: it goes on without this command" in err
    assert "was the node started with --join?" in err


def test_a_node_that_is_away_for_a_moment_is_asked_again(leader: Scripted) -> None:
    """An election while the newcomer catches up does not end the command."""
    leader.has_newcomer, leader.refused_looks = True, 3
    assert run(leader, "member", "add", "n4=h:1")[0] == 0
    assert leader.looks == 4


@pytest.mark.parametrize(
    ("arguments", "asked", "said"),
    [
        (("member", "remove", "n2"), "RAFTLINE.MEMBER REMOVE n2", "n2: removed; 1 voters: n1"),
        (("member", "promote", "n4"), "RAFTLINE.MEMBER PROMOTE n4", "n4: votes now; 1 voters: n1"),
        (("member", "priority", "n2", "7"), "RAFTLINE.MEMBER PRIORITY n2 7", "n2: has priority 7; 1 voters: n1"),
        (("member", "move", "n4=h:9"), "RAFTLINE.MEMBER MOVE n4 h:9@10009", "n4 is at h:9@10009 from now on"),
        (("transfer",), "RAFTLINE.TRANSFER", "n1 leads now, in term 4"),
        (("transfer", "--to", "n1"), "RAFTLINE.TRANSFER n1", "n1 leads now, in term 4"),
    ],
)
def test_each_change_says_what_came_of_it(leader: Scripted, arguments: tuple[str, ...], asked: str, said: str) -> None:
    """One command is sent, one line is printed."""
    assert run(leader, *arguments) == (0, said + "\n", "")
    assert leader.asked == [asked]


@pytest.mark.parametrize("arguments", [("member", "remove", "n9"), ("member", "add", "n4=h:1"), ("transfer",)])
def test_a_refusal_is_shown_in_the_leaders_words(leader: Scripted, arguments: tuple[str, ...]) -> None:
    """With code 1, and the node that gave it."""
    leader.reply = b"-ERR a change is in progress: one at a time\r\n"
    code, out, err = run(leader, *arguments)
    assert (code, out) == (1, "")
    what = " ".join(arguments[:2]) if arguments[0] == "member" else arguments[0]
    assert err == f"raftline {what}: {leader.where} refuses: a change is in progress: one at a time\n"


@pytest.mark.parametrize(
    ("member", "words"),
    [
        ("n4", "'n4' is no member: write name=host:port"),
        ("n4=h", "the port is missing"),
        ("n4=h:1,n5=h:2", "names 2 nodes: one at a time"),
    ],
)
def test_a_name_without_an_address_is_refused_here(leader: Scripted, member: str, words: str) -> None:
    """Nobody is asked; code 2."""
    code, _, err = run(leader, "member", "add", member)
    assert code == 2
    assert words in err
    assert leader.asked == []


def test_nobody_at_the_address_ends_with_69() -> None:
    """And an address that is none with 2."""
    runner = CliRunner()
    for arguments in (["member", "remove", "n2"], ["transfer"], ["member", "list"]):
        assert runner.invoke(app, [*arguments, "--node", "127.0.0.1:1"]).exit_code == 69
        assert runner.invoke(app, [*arguments, "--node", "nowhere"]).exit_code == 2


def test_a_port_for_peers_is_named_as_such(fake_node: Callable[..., int]) -> None:
    """By every command that asks a node to do something, in the words of those that only look."""
    port = fake_node(raw=b"RLp1\x00\x00")
    for arguments in (["member", "remove", "n2"], ["transfer"], ["member", "list"]):
        result = CliRunner().invoke(app, [*arguments, "--node", f"127.0.0.1:{port}"])
        assert result.exit_code == 69
        assert f"127.0.0.1:{port} answers, but not as a raftline server does: is it the port for" in result.stderr


def test_members_are_listed(leader: Scripted) -> None:
    """As a table, and as JSON with one object per member."""
    leader.has_newcomer = True
    code, out, _ = run(leader, "member", "list")
    assert code == 0
    assert "n1" in out
    assert "unreachable" in out
    code, out, _ = run(leader, "member", "list", "--json")
    assert code == 0
    assert json.loads(out)[0] == {
        "node_id": "n1", "address": f"{leader.where}@1", "voter": True, "role": "leader", "reachable": True,
        "lag_entries": 0,
    }  # fmt: skip
    assert [(member["node_id"], member["reachable"]) for member in json.loads(out)] == [("n1", True), ("n4", False)]


LOST = b"-CLUSTERDOWN no quorum could be reached (the leader changed): look at the members before asking again\r\n"
NOT_TAKEN = b"-CLUSTERDOWN no leader is known: nothing was changed\r\n"
OUTSIDE = b"-NOTMEMBER n1 was removed from the group: ask n2 at h:2@3: nothing was changed\r\n"


@pytest.mark.parametrize(
    ("replies", "words"),
    [
        ([b"+OK\r\n"], "what was asked for goes on without this command"),
        ([NOT_TAKEN], "nothing was changed"),
        ([b"-TRYAGAIN too much waits\r\n"], "nothing was changed"),
        ([LOST], "what was asked for may have been done, or may still be: look at the members before asking again"),
    ],
)
def test_ctrl_c_leaves_the_cluster_to_it(
    leader: Scripted, monkeypatch: pytest.MonkeyPatch, replies: list[bytes], words: str
) -> None:
    """What was taken goes on, what was refused does not, and nobody knows of what was lost: that is said."""
    leader.has_newcomer, leader.grow_after = True, 10**9
    leader.first_replies = replies

    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("raftline.cli.member.time.sleep", interrupt)
    code, _, err = run(leader, "member", "add", "n4=h:1")
    assert code == 1
    assert err == f"raftline member add: left; {words}\n"


def test_ctrl_c_before_the_answer_promises_nothing(leader: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was sent may be carried out; before it was sent nothing is."""

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Asker, "ask", interrupt)
    assert "left; what was asked for may have been done, or may still be" in run(leader, "member", "remove", "n2")[2]
    monkeypatch.setattr(member_module, "ask_node", interrupt)
    assert run(leader, "member", "add", "n4=h:1")[2] == "raftline member add: left; nothing was changed\n"


@pytest.mark.parametrize(
    "arguments", ["member remove n2", "member promote n2", "member move n4=h:9", "member add n4=h:9 --learner"]
)
def test_a_node_that_is_in_no_group_is_not_asked_again(leader: Scripted, arguments: str) -> None:
    """No leader will ever answer through it: its words are shown at once."""
    leader.reply = OUTSIDE
    words = f"{leader.where} refuses: n1 was removed from the group: ask n2 at h:2@3: nothing was changed\n"
    code, _, err = run(leader, *arguments.split())
    assert (code, err) == (1, f"raftline {' '.join(arguments.split()[:2])}: {words}")
    assert len(leader.asked) == 1


def test_a_node_that_was_removed_can_be_asked_to_be(leader: Scripted) -> None:
    """It is done; but only if the node itself is meant, and knows of its removal."""
    leader.reply = OUTSIDE
    assert run(leader, "member", "remove", "n1")[0] == 1, "it does not say that it is removed"
    leader.role = "removed"
    assert run(leader, "member", "remove", "n2")[0] == 1
    assert run(leader, "member", "remove", "n1") == (0, "n1: removed\n", ""), (
        "it lists itself, so who is left is unknown"
    )


@pytest.mark.parametrize(
    "arguments", ["member remove n2", "member promote n2", "member move n4=h:9", "member add n4=h:9 --learner"]
)
def test_a_change_waits_for_a_leader(leader: Scripted, arguments: str) -> None:
    """As right after the leader died: it is asked for again until one decides, and not told as a failure."""
    leader.first_replies = [LOST, NOT_TAKEN, b"-TRYAGAIN busy\r\n"]
    code, _, err = run(leader, *arguments.split())
    assert code == 0, err
    assert len(leader.asked) == 4
    assert len(set(leader.asked)) == 1


@pytest.mark.parametrize(
    ("arguments", "refusal", "said"),
    [
        ("member remove n2", b"-ERR n2 is no member; there are n1\r\n", "n2: removed; 2 voters: n1, n4\n"),
        ("member promote n4", b"-ERR n4 votes already\r\n", "n4: votes now; 2 voters: n1, n4\n"),
    ],
)
def test_what_a_lost_leader_did_is_done(leader: Scripted, arguments: str, refusal: bytes, said: str) -> None:
    """The next leader has nothing to do, which is what was wanted; without an unknown outcome it is a refusal."""
    leader.has_newcomer, leader.reply = True, refusal
    leader.first_replies = [LOST, NOT_TAKEN]
    assert run(leader, *arguments.split()) == (0, said, "")
    leader.first_replies = [NOT_TAKEN]
    assert run(leader, *arguments.split())[0] == 1


@pytest.mark.parametrize("is_lost", [False, True])
def test_what_a_lost_leader_began_is_waited_for(leader: Scripted, *, is_lost: bool) -> None:
    """The new leader carries it on and refuses meanwhile, though it lists a voter that is not committed as one yet."""
    leader.has_newcomer, leader.reply = True, b"-ERR n4 votes already\r\n"
    early = b"-ERR this leader has committed no entry of its term yet: ask again shortly (thesis 4.1)\r\n"
    begun = b"-ERR a change is in progress: the voters n1 give way to n1, n4; one at a time\r\n"
    leader.first_replies = [LOST if is_lost else NOT_TAKEN, early, begun]
    assert run(leader, "member", "promote", "n4")[0] == (0 if is_lost else 1)
    assert len(leader.asked) == (4 if is_lost else 3), "somebody else's change is not waited for"


def test_who_does_not_vote_was_not_promoted(leader: Scripted) -> None:
    """Another refusal stays one, also after an unknown outcome."""
    leader.has_newcomer, leader.grow_after, leader.reply = True, 10**9, b"-ERR n4 lags\r\n"
    leader.first_replies = [LOST]
    code, _, err = run(leader, "member", "promote", "n4")
    assert (code, "refuses: n4 lags" in err) == (1, True)


def test_the_time_is_that_of_the_whole_command(leader: Scripted, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """A later try has what the others left; that it was not answered is no news of the node, and nothing is known."""
    tries: list[float] = []

    def ask(asker: Asker, *_: str) -> None:
        tries.append(asker._timeout_s)
        clock.sleep(min(tries[-1], 8.0))
        if tries[-1] < 8.0:
            raise Unreachable(f"{asker.target} does not answer in time")
        raise NoLeaderNow("no leader is known: nothing was changed", may_take_effect=False)

    monkeypatch.setattr(Asker, "ask", ask)
    code, _, err = run(leader, "member", "remove", "n2", "--timeout-s", "20")
    assert (code, tries, clock.now_s) == (1, [20.0, 11.0, 2.0], 20.0)
    assert "no outcome within 20 s: look at the members before asking again; before, no leader is known" in err


def test_waiting_for_a_voter_takes_what_asking_left(
    leader: Scripted, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer took 15 of 20 s: the node that was added has the other 5 to catch up."""
    leader.has_newcomer, leader.grow_after = True, 10**9
    monkeypatch.setattr(Asker, "ask", lambda *_: clock.sleep(15.0))
    code, _, err = run(leader, "member", "add", "n4=h:1", "--timeout-s", "20")
    assert (code, clock.now_s, leader.looks) == (1, 20.0, 5)
    assert "n4 has not caught up within 20 s" in err


@pytest.mark.usefixtures("clock")
def test_a_change_for_which_no_leader_comes_ends_in_time(leader: Scripted) -> None:
    """With what the node said last."""
    leader.reply = LOST
    code, _, err = run(leader, "member", "remove", "n2", "--timeout-s", "3")
    assert (code, "no quorum could be reached" in err) == (1, True)
    assert len(leader.asked) == 3


def test_a_node_that_is_away_is_told_with_a_way_out() -> None:
    """Any other node does as well: the one that was named may be the leader that died."""
    result = CliRunner().invoke(app, ["member", "remove", "n2", "--node", "127.0.0.1:1"])
    assert result.exit_code == 69
    assert "any other node of the cluster can be asked as well (--node HOST:PORT)" in result.stderr
