"""Tests of `raftline check`: its verdicts as exit codes, its words, its JSON, its page, its refusals."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest
import typer
from typer.testing import CliRunner, Result

from raftline.cli.check import BAD_INPUT, EXIT_CODES, run_check
from raftline.cli.proving import check
from raftline.linearizability.history import History, Operation, Value, write_jsonl
from raftline.linearizability.models import model_named
from raftline.linearizability.search import Verdict

Run: TypeAlias = Callable[..., Result]


@pytest.fixture
def run() -> Run:
    """Return a function that runs the command."""
    app = typer.Typer()
    app.command()(check)

    def invoke(*arguments: str | Path, stdin: str | None = None) -> Result:
        return CliRunner().invoke(app, [str(argument) for argument in arguments], input=stdin)

    return invoke


def _op(kind: str, value: Value, call: float, end: float | None, key: str = "k") -> Operation:
    read = kind == "read"
    return Operation(1, kind, None if read else value, value if read else None, call, end, key)


YES = [_op("write", 1, 0, 1), _op("read", 1, 2, 3)]
NO = [_op("write", 1, 0, 1), _op("read", None, 2, 3), _op("read", 5, 8, 9, "late")]
UNKNOWN = [
    *[Operation(i, "add", 2**i, None, 0, 100) for i in range(24)],
    Operation(98, "read", None, 2**24 - 2, 1, 2),
    Operation(99, "read", None, -1, 101, 102),
]


def _write(folder: Path, operations: list[Operation], model: str | None) -> Path:
    path = folder / "history.jsonl"
    path.write_text("".join(write_jsonl(History(tuple(operations), model))), encoding="utf-8")
    return path


def test_a_yes_is_exit_code_0(run: Run, tmp_path: Path) -> None:
    """The model comes from the history's header; one line says what was checked."""
    result = run(_write(tmp_path, YES, "register"))
    assert result.exit_code == EXIT_CODES[Verdict.YES] == 0
    assert result.output.startswith("LINEARIZABLE: 2 operations on 1 key, model register, ")


def test_a_no_is_exit_code_1_and_says_why(run: Run, tmp_path: Path) -> None:
    """The key that went wrong first comes first, with the answer that fits nowhere and those that would have."""
    page = tmp_path / "why.html"
    result = run(_write(tmp_path, NO, None), "--model", "register", "--html", page)
    assert result.exit_code == EXIT_CODES[Verdict.NO] == 1
    assert result.output.startswith("NOT LINEARIZABLE: 3 operations on 2 keys, model register, ")
    lines = result.output.splitlines()
    assert lines[1:4] == [
        'key "k": there is an order up to here, but none in which client 1 gets read → nil',
        "    called at 2, returned at 3; the shortest failing prefix has 2 operations",
        "    in the order found it would get 1",
    ]
    assert lines[4].startswith('key "late": ')
    assert lines[-1] == f"picture: {page}"
    assert page.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


def test_an_unknown_is_exit_code_2(run: Run, tmp_path: Path) -> None:
    """When time runs out the answer is unknown, and no page is written."""
    page = tmp_path / "why.html"
    result = run(_write(tmp_path, UNKNOWN, "counter"), "--time-limit", "0.000001", "--html", page)
    assert result.exit_code == EXIT_CODES[Verdict.UNKNOWN] == 2
    assert result.output.startswith("UNKNOWN: 26 operations on 1 key, model counter, ")
    assert "1 of 1 keys not finished when time ran out" in result.output
    assert not page.exists()


def test_json_tells_the_same(run: Run, tmp_path: Path) -> None:
    """One document with the verdict, the sizes, and for each key without an order what `explain` found."""
    result = run(_write(tmp_path, NO, "register"), "--json")
    assert result.exit_code == 1
    report = json.loads(result.output)
    assert (report["verdict"], report["operations"], report["keys"], report["unfinished_keys"]) == ("no", 3, 2, [])
    first, second = report["failing"]
    assert (first["key"], second["key"], first["shortest"], first["prefix_operations"]) == ("k", "late", True, 2)
    assert first["culprit"] == {"client": 1, "kind": "read", "input": None, "output": None, "call": 2, "return": 3}
    assert first["possible_answers"] == [1]
    assert [item["kind"] for item in first["order"]] == ["write"]


JEPSEN = """\
INFO  jepsen.util - 1\t:invoke\t:write\t4
INFO  jepsen.util - 1\t:ok\t:write\t4
INFO  jepsen.util - 0\t:invoke\t:read\tnil
INFO  jepsen.util - 0\t:ok\t:read\t4
"""
KV = """\
{:process 0, :type :invoke, :f :get, :key "a", :value nil}
{:process 0, :type :ok, :f :get, :key "a", :value "stale"}
"""


@pytest.mark.parametrize(("text", "name", "code"), [(JEPSEN, "jepsen", 0), (KV, "porcupine-kv", 1)])
@pytest.mark.parametrize("given", [True, False])
def test_other_formats_are_read(run: Run, text: str, name: str, code: int, *, given: bool) -> None:
    """Recordings of Jepsen and Porcupine bring their model; the format can be said or is guessed; - is stdin."""
    result = run("-", *(["--format", name] if given else []), stdin=text)
    assert result.exit_code == code


@pytest.mark.parametrize(
    ("text", "arguments", "words"),
    [
        ("", [], "history.txt: no operations found; is the format right?"),
        ('{"history": 1}', ["--model", "kv"], "no operations found"),
        ('{"client": 1}', [], "history.txt: line 1: field 'kind' is missing"),
        ('{"client": 1, "kind": "get", "call": 1}', [], "the history names no model: say which with --model, one of"),
        ('{"client": 1, "kind": "get", "call": 1}', ["--model", "stack"], "there is no model 'stack', only append,"),
        ('{"client": 1, "kind": "push", "call": 1}', ["--model", "kv"], "model 'kv' has no kind 'push'"),
        (JEPSEN, ["--format", "edn"], "there is no format 'edn', only auto, jsonl, jepsen, porcupine-kv"),
        (JEPSEN, ["--time-limit", "soon"], "--time-limit must be a positive number of seconds, found 'soon'"),
        (JEPSEN, ["--time-limit", "-1"], "--time-limit must be a positive number of seconds, found '-1'"),
        (JEPSEN, ["--time-limit", "nan"], "--time-limit must be a positive number of seconds, found 'nan'"),
        (KV, ["--html", "/nowhere/why.html"], "/nowhere/why.html"),
    ],
)
def test_bad_input_is_exit_code_3(run: Run, text: str, arguments: list[str], words: str, tmp_path: Path) -> None:
    """What cannot be used is named on standard error, without a traceback, and no verdict is claimed."""
    path = tmp_path / "history.txt"
    path.write_text(text, encoding="utf-8")
    model = [] if "--model" in arguments or "names no model" in words else ["--model", "kv"]
    result = run(path, *([] if text in {JEPSEN, KV} else model), *arguments)
    assert result.exit_code == BAD_INPUT == 3
    assert result.stderr.startswith("raftline check: ")
    assert words in result.stderr
    assert "LINEARIZABLE" not in result.stdout


def test_a_file_that_cannot_be_read_is_exit_code_3(run: Run, tmp_path: Path) -> None:
    """Missing, a directory, or not text: the message names it."""
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe\x00")
    for path in (tmp_path / "missing", tmp_path, binary):
        result = run(path, "--model", "kv")
        assert result.exit_code == BAD_INPUT
        assert str(path) in result.stderr


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_letters_that_cannot_be_printed_are_escaped(
    encoding: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A terminal without arrows, or values that are no text, still get the verdict and the page."""
    narrow = io.TextIOWrapper(io.BytesIO(), encoding=encoding, write_through=True)
    monkeypatch.setattr("sys.stdout", narrow)
    history = History((_op("read", "\udcff", 0, 1),))
    page = tmp_path / "why.html"
    assert run_check(history, model_named("register"), limit_s=5, html=str(page), as_json=False) == 1
    written = narrow.buffer
    assert isinstance(written, io.BytesIO)
    assert b'read \\u2192 "\\udcff"' in written.getvalue().replace("→".encode(), b"\\u2192")
    assert b"\\udcff" in page.read_bytes()
