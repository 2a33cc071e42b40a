"""The tables of the operator's manual, written from the code: settings and exit codes.

`python -m raftline.cli.reference docs/operations.md` puts them between their markers; a test holds that they are there.
"""

import sys
from pathlib import Path

from raftline.cli.exit_codes import ExitCode
from raftline.cli.settings import settings_table

__all__ = ["exit_code_reference", "settings_reference", "with_references"]


def settings_reference() -> str:
    """Return the settings as a Markdown table."""
    lines = ["| Setting (file key) | Flag | Variable | Default | Unit | What it does |", "|---|---|---|---|---|---|"]
    for row in settings_table():
        default = f"`{row.default_text}`" if row.default_text else ("must be given" if row.required else "empty")
        about = row.help.replace("|", "\\|")
        flag = "none" if row.is_secret else f"`{row.flag}`"
        lines.append(f"| `{row.name}` | {flag} | `{row.variable}` | {default} | {row.unit} | {about} |")
    return "\n".join(lines)


def exit_code_reference() -> str:
    """Return the exit codes as a Markdown table."""
    lines = ["| Code | Name | What it tells |", "|---|---|---|"]
    lines += [f"| {code:d} | {code.name.lower()} | {code.meaning} |" for code in ExitCode]
    return "\n".join(lines)


def with_references(page: str) -> str:
    """Return `page` with both tables between `<!-- name -->` and `<!-- /name -->`."""
    for name, table in (("settings", settings_reference()), ("exit codes", exit_code_reference())):
        before, opening, rest = page.partition(f"<!-- {name} -->\n")
        _, closing, after = rest.partition(f"<!-- /{name} -->")
        assert opening, f"the page has no marker <!-- {name} -->"
        assert closing, f"the page has no marker <!-- /{name} -->"
        page = before + opening + table + "\n" + closing + after
    return page


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        path = Path(argument)
        path.write_text(with_references(path.read_text(encoding="utf-8")), encoding="utf-8")
