"""Write the options of every command into docs/reference/command-line.md: `python tools/command_reference.py`.

Text between `<!-- command NAME -->` and `<!-- end -->` is generated from the command line; the rest of the page is written by
hand. Commands without such a place get a section at the end.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from pgretrieval.cli.app import app

PAGE = Path(__file__).resolve().parents[1] / "docs" / "reference" / "command-line.md"
_BLOCK = re.compile(r"<!-- command ([\w -]+) -->\n.*?<!-- end -->\n", re.DOTALL)
_LAST = "## Environment"


def commands() -> dict[str, Any]:
    """Every command by its name after `pgretrieval`; those of a group as "group command"."""
    return dict(_walk(typer.main.get_command(app), ""))


def _walk(group: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    context = typer.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if hasattr(command, "list_commands"):
            yield from _walk(command, f"{prefix}{name} ")
        else:
            yield prefix + name, command


def global_options() -> str:
    """The options before the command."""
    return _table([parameter for parameter in typer.main.get_command(app).params if parameter.param_type_name == "option"])


def described(name: str, command: Any) -> str:
    """A command's description, usage, and a table of its arguments and options."""
    arguments = [parameter for parameter in command.params if parameter.param_type_name == "argument"]
    options = [parameter for parameter in command.params if parameter.param_type_name == "option" and not parameter.hidden]
    usage = " ".join(["pgretrieval", name, *(_argument(parameter) for parameter in arguments), *["[OPTIONS]"] * bool(options)])
    text = "\n\n".join(" ".join(part.split()) for part in (command.help or "").split("\n\n"))
    rows = _table([*arguments, *options])
    return "\n\n".join(part for part in (_escaped(text), f"```sh\n{usage}\n```", rows) if part)


def _argument(parameter: Any) -> str:
    shown = parameter.metavar.strip("[].") if parameter.metavar else parameter.name.upper()
    shown += "..." * (parameter.nargs == -1)
    return shown if parameter.required else f"[{shown}]"


def _table(parameters: list[Any]) -> str:
    if not parameters:
        return ""
    rows = [f"| {_names(parameter)} | {_default(parameter)} | {_escaped(parameter.help or '')} |" for parameter in parameters]
    return "\n".join(["| | default | meaning |", "|---|---|---|", *rows])


def _names(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return f"`{_argument(parameter)}`"
    return ", ".join(f"`{name}`" for name in [*parameter.opts, *parameter.secondary_opts])


def _default(parameter: Any) -> str:
    if parameter.required:
        return "required"
    if isinstance(parameter.show_default, str):
        return f"{parameter.show_default}"
    if parameter.default is None or parameter.default in ((), []):
        return "–"
    if isinstance(parameter.default, bool):
        return "on" if parameter.default else "off"
    return f"{parameter.default:g}" if isinstance(parameter.default, float) else f"{parameter.default}"


def _escaped(text: str) -> str:
    """Help as Markdown, with characters of markup and of tables escaped."""
    text = text.replace("\\[", "[").replace("|", "\\|")
    return re.sub(r"(?<![`\w])(--[a-z][\w-]*)", r"`\1`", text).replace("<", "&lt;").replace("*", "\\*")


def written(page: str) -> str:
    """The page with all generated text renewed."""
    found = commands()
    there = set(_BLOCK.findall(page))

    def replaced(match: re.Match[str]) -> str:
        name = match[1]
        inner = global_options() if name == "pgretrieval" else described(name, found[name]) if name in found else ""
        return f"<!-- command {name} -->\n{inner}\n<!-- end -->\n" if inner else ""

    page = _BLOCK.sub(replaced, page)
    missing = "".join(
        f"## {name}\n\n<!-- command {name} -->\n{described(name, found[name])}\n<!-- end -->\n\n"
        for name in found
        if name not in there
    )
    return page.replace(_LAST, missing + _LAST, 1) if missing else page


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
