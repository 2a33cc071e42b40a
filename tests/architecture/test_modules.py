"""What every source file looks like: sizes, docstrings, public names, and calls that belong elsewhere."""

import ast
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.architecture.conftest import Module

    Example = Callable[..., Module]

FILE_LINES_MAX = 500
FUNCTION_LINES_MAX = 50
"""Lines of the body with code; signature, docstring, comments and blank lines are free."""

FILE_MODULES = {"os", "io", "shutil", "mmap", "fcntl", "tempfile"}
"""What reaches the file system; in wal only files.py may, so that the simulator can stand in for it."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


def code_lines(function: Function, text: str) -> int:
    """Return how many lines of the body hold code."""
    lines = text.splitlines()
    body = function.body[1:] if ast.get_docstring(function, clean=False) is not None else function.body
    if not body:
        return 0
    inside = lines[body[0].lineno - 1 : function.end_lineno]
    return sum(1 for line in inside if line.strip() and not line.strip().startswith("#"))


def long_functions(module: "Module") -> list[str]:
    """Return every function above the limit."""
    return [
        f"{module.path}:{node.lineno} {node.name} has {size} lines"
        for node in ast.walk(module.tree)
        if isinstance(node, Function) and (size := code_lines(node, module.text)) > FUNCTION_LINES_MAX
    ]


def declared_names(module: "Module") -> list[str] | None:
    """Return `__all__`, or None if there is none."""
    for node in module.tree.body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if any(isinstance(target, ast.Name) and target.id == "__all__" for target in targets):
                return [str(name) for name in ast.literal_eval(node.value)]
    return None


def defined_names(module: "Module") -> set[str]:
    """Return every name bound at the top level, conditional parts included."""
    names: set[str] = set()
    waiting = list(module.tree.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
        elif isinstance(node, ast.If | ast.Try | ast.With):
            waiting += [child for child in ast.iter_child_nodes(node) if isinstance(child, ast.stmt)]
            waiting += [each for handler in getattr(node, "handlers", []) for each in handler.body]
        else:
            names |= {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}
    return names


def name_faults(module: "Module") -> list[str]:
    """Return what is wrong with the module's docstring and `__all__`."""
    faults = []
    if not ast.get_docstring(module.tree):
        faults.append(f"{module.path} has no docstring")
    declared = declared_names(module)
    if declared is None:
        only_docstring = len(module.tree.body) <= 1
        return faults if only_docstring else [*faults, f"{module.path} has no __all__"]
    missing = sorted(set(declared) - defined_names(module))
    if missing:
        faults.append(f"{module.path}: __all__ names {', '.join(missing)}, which it does not have")
    if len(set(declared)) != len(declared):
        faults.append(f"{module.path}: __all__ names something twice")
    return faults


def calls_of(module: "Module", name: str) -> list[str]:
    """Return every call of the built-in `name`."""
    return [
        f"{module.path}:{node.lineno} calls {name}()"
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name
    ]


def file_access(module: "Module") -> list[str]:
    """Return whatever in a module of wal, other than files.py, reaches the file system by itself."""
    if module.layer != "wal" or module.name == "raftline.wal.files":
        return []
    found = [
        f"{module.path}:{line} imports {name}" for line, name in module.imports() if name.split(".")[0] in FILE_MODULES
    ]
    return found + calls_of(module, "open")


def test_files_stay_readable(modules: "list[Module]") -> None:
    """No file has more than 500 lines."""
    sizes = {module.path: module.text.count("\n") for module in modules}
    assert {path: size for path, size in sizes.items() if size > FILE_LINES_MAX} == {}


def test_functions_stay_readable(modules: "list[Module]") -> None:
    """No function has more than 50 lines of code."""
    assert [wrong for module in modules for wrong in long_functions(module)] == []


def test_every_module_says_what_it_is_and_what_it_offers(modules: "list[Module]") -> None:
    """Each module has a docstring and an `__all__` whose names exist."""
    assert [fault for module in modules for fault in name_faults(module)] == []


def test_only_commands_print(modules: "list[Module]") -> None:
    """A library does not write to somebody else's terminal."""
    assert [call for module in modules if module.layer != "cli" for call in calls_of(module, "print")] == []


def test_the_log_reaches_the_disk_through_one_file(modules: "list[Module]") -> None:
    """In wal only files.py touches the operating system's files, so that the simulator can replace it."""
    assert [wrong for module in modules for wrong in file_access(module)] == []


def test_a_long_function_is_found_and_its_docstring_is_free(example: "Example") -> None:
    """The limit counts code: fifty lines pass however long the docstring is, fifty-one do not."""
    docstring = '    """' + "words\n" * 60 + '    """\n    # a comment\n\n'
    fifty = f"def f():\n{docstring}" + "    x = 1\n" * FUNCTION_LINES_MAX
    assert long_functions(example("raftline.x", fifty)) == []
    assert long_functions(example("raftline.x", fifty + "    x = 1\n")) == ["example.py:1 f has 51 lines"]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("__all__ = []\n", "example.py has no docstring"),
        ('"""Doc."""\nx = 1\n', "example.py has no __all__"),
        ('"""Doc."""\n__all__ = ["x", "y"]\nx: int = 1\n', "example.py: __all__ names y, which it does not have"),
        ('"""Doc."""\n__all__ = ["x", "x"]\nx = 1\n', "example.py: __all__ names something twice"),
    ],
)
def test_a_missing_name_is_found(example: "Example", text: str, fault: str) -> None:
    """The check can fail in each of its ways."""
    assert name_faults(example("raftline.x", text)) == [fault]


def test_calls_in_the_wrong_place_are_found(example: "Example") -> None:
    """The checks for printing and for file access can fail."""
    assert calls_of(example("raftline.kv.x", "def f():\n    print(1)\n"), "print") == ["example.py:2 calls print()"]
    assert file_access(example("raftline.wal.wal", "import os.path\nopen('x')\n")) == [
        "example.py:1 imports os.path",
        "example.py:2 calls open()",
    ]
    assert file_access(example("raftline.wal.files", "import os\n")) == []
