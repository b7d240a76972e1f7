"""The reference is complete: every command and option, every SQL function with its arguments, every public name."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = ROOT / "docs" / "reference"
sys.path.insert(0, str(ROOT / "tools"))

import command_reference  # noqa: E402

COMMANDS = command_reference.commands()


def page(name: str) -> str:
    return (REFERENCE / f"{name}.md").read_text(encoding="utf-8")


def test_command_page_is_what_the_command_line_generates() -> None:
    assert page("command-line") == command_reference.written(page("command-line")), "run python tools/command_reference.py"


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_command_has_a_section_with_all_its_arguments_and_options(name: str) -> None:
    found = re.search(rf"^## {re.escape(name)}\n(.*?)(?=^## |\Z)", page("command-line"), re.MULTILINE | re.DOTALL)
    assert found
    assert f"pgretrieval {name}" in found[1]
    for parameter in COMMANDS[name].params:
        names = (
            parameter.opts + parameter.secondary_opts
            if parameter.param_type_name == "option"
            else [(parameter.metavar or parameter.name.upper()).strip("[].")]
        )
        assert [option for option in names if not re.search(rf"`\[?{re.escape(option)}[`\].]", found[1])] == []


def test_command_is_listed_by_subject() -> None:
    listed = re.findall(r"\[([\w -]+)\]\(#", page("command-line").partition("## Which database")[0])
    assert sorted(listed) == sorted(COMMANDS)


def test_commands_and_their_arguments_say_what_they_are() -> None:
    silent = [
        f"{name} {parameter.name}" for name, command in COMMANDS.items() for parameter in command.params if not parameter.help
    ]
    assert silent == []
    assert [name for name, command in COMMANDS.items() if not command.help] == []
