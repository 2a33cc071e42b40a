"""The page about the commands."""

from pathlib import Path

from raftline.kv.commands.documentation import render_commands
from raftline.kv.commands.table import COMMANDS

PAGE = Path(__file__).parents[3] / "docs" / "commands.md"


def test_every_command_is_on_it() -> None:
    """Each command and subcommand has a line."""
    page = render_commands()
    for command in COMMANDS.values():
        for row in command.subcommands or (command,):
            assert f"| `{row.name.replace('|', ' ').upper()}" in page


def test_the_page_is_up_to_date() -> None:
    """docs/commands.md is what the table says; its first lines tell how to make it anew."""
    assert PAGE.read_text(encoding="utf-8") == render_commands()
