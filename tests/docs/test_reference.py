"""The reference is complete: every command and option, every SQL function with its arguments, every public name."""

from __future__ import annotations

import dataclasses
import inspect
import re
import sys
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import pgretrieval
from pgretrieval import errors

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = ROOT / "docs" / "reference"
sys.path.insert(0, str(ROOT / "tools"))

import command_reference  # noqa: E402

COMMANDS = command_reference.commands()
FOR_APPLICATIONS = {
    "add_passage",
    "anchor_items",
    "as_vector",
    "as_vectors",
    "attach",
    "candidates_by_anchors",
    "check",
    "check_parts",
    "compact",
    "create_collection",
    "delete_passage",
    "dense_search",
    "detach",
    "drop_collection",
    "drop_leftover",
    "hybrid_search",
    "maxsim",
    "resync",
    "search",
    "stats",
    "text_search",
    "token_matches",
    "xtr_search",
}
SIGNATURES = """
    select proname || '(' || pg_get_function_arguments(oid) || ') returns ' || pg_get_function_result(oid)
    from pg_catalog.pg_proc where pronamespace = 'pgretrieval'::regnamespace and proname = any (%s)
"""


def page(name: str) -> str:
    return (REFERENCE / f"{name}.md").read_text(encoding="utf-8")


def test_command_page_is_what_the_command_line_generates() -> None:
    assert page("command-line") == command_reference.written(page("command-line")), "run python tools/command_reference.py"


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_command_has_a_section_with_all_its_arguments_and_options(name: str) -> None:
    found = re.search(rf"^## {re.escape(name)}\n(.*?)(?=^## |\Z)", page("command-line"), re.MULTILINE | re.DOTALL)
    assert found
    assert f"pgretrieval {name}" in found[1]
    for parameter in _shown(COMMANDS[name]):
        names = (
            parameter.opts + parameter.secondary_opts
            if parameter.param_type_name == "option"
            else [(parameter.metavar or parameter.name.upper()).strip("[].")]
        )
        assert [option for option in names if not re.search(rf"`\[?{re.escape(option)}[`\].]", found[1])] == []


def _shown(command: Any) -> list[Any]:
    """Parameters that `--help` shows, without old names, which only print the new ones."""
    return [parameter for parameter in command.params if not getattr(parameter, "hidden", False)]


def test_command_is_listed_by_subject() -> None:
    listed = re.findall(r"\[([\w -]+)\]\(#", page("command-line").partition("## Which database")[0])
    assert sorted(listed) == sorted(COMMANDS)


def test_commands_and_arguments_have_help() -> None:
    silent = [
        f"{name} {parameter.name}" for name, command in COMMANDS.items() for parameter in _shown(command) if not parameter.help
    ]
    assert silent == []
    assert [name for name, command in COMMANDS.items() if not command.help] == []


def documented_functions() -> list[str]:
    """The signatures of the SQL page, each in one line."""
    blocks = re.findall(r"```postgresql\n(.*?)```", page("sql"), re.DOTALL)
    lines = re.sub(r"\(\n +", "(", re.sub(r",\n +", ", ", re.sub(r"\n\)", ")", "".join(blocks))))
    return sorted(lines.splitlines())


def test_sql_page_has_the_signatures_of_the_catalogue(connection: Any) -> None:
    """Names, arguments, types, defaults and results match, apart from casts that the catalogue adds to defaults."""
    held = [signature for (signature,) in connection.execute(SIGNATURES, [sorted(FOR_APPLICATIONS)]).fetchall()]
    plain = [
        re.sub(r"::[a-z ]+(\[\])?", "", held).replace("DEFAULT NULL", "default null").replace("TABLE(", "table(") for held in held
    ]
    assert documented_functions() == sorted(line.replace("DEFAULT", "default") for line in plain)


def test_sql_page_has_a_section_for_each_function_of_applications() -> None:
    headings = set(re.findall(r"^## (\w+)$", page("sql"), re.MULTILINE))
    assert headings >= FOR_APPLICATIONS
    assert {line.partition("(")[0] for line in documented_functions()} == FOR_APPLICATIONS


def test_sql_page_has_every_rule_of_the_check() -> None:
    """Rules are strings in the functions of the check and in the client."""
    sources = [*(ROOT / "sql" / "functions" / "check").glob("check_*.sql"), ROOT / "pgretrieval" / "index" / "check.py"]
    written = " ".join(source.read_text(encoding="utf-8") for source in sources)
    rules = set(re.findall(r"^\|[^|]*\| ((?:`\w+`(?:, )?)+) \|", page("sql"), re.MULTILINE))
    named = {name for cell in rules for name in re.findall(r"`(\w+)`", cell)}
    assert len(named) >= 30
    assert [name for name in sorted(named) if name not in written] == []


HANDLES = pgretrieval.RetrievalDatabase, pgretrieval.Collection, pgretrieval.AsyncRetrievalDatabase, pgretrieval.AsyncCollection


def public_calls() -> Iterator[tuple[str, Any]]:
    """`connect`, `connect_async`, and each public method and property of their handles."""
    yield "connect", pgretrieval.connect
    yield "connect_async", pgretrieval.connect_async
    for kind in HANDLES:
        for name, member in inspect.getmembers_static(kind):
            if not name.startswith("_"):
                yield f"{kind.__name__}.{name}", member.fget if isinstance(member, property) else member


CALLS = dict(public_calls())
DIRECTIVES = re.findall(r"^::: ([\w.]+)$", page("python") + page("python-modules"), re.MULTILINE)


def classes_in(annotation: Any) -> Iterator[type]:
    """Classes of the package in a type, such as Hit in list[Hit]."""
    if isinstance(annotation, type) and annotation.__module__.startswith("pgretrieval"):
        yield annotation
    for inner in typing.get_args(annotation):
        yield from classes_in(inner)


@pytest.mark.parametrize("name", pgretrieval.__all__)
def test_public_name_is_on_the_python_page(name: str) -> None:
    assert f"pgretrieval.{name}" in DIRECTIVES


@pytest.mark.parametrize("name", CALLS)
def test_what_a_public_call_returns_is_exported(name: str) -> None:
    exported = {name: getattr(pgretrieval, name) for name in pgretrieval.__all__}
    known = exported | vars(sys.modules[CALLS[name].__module__])
    returned = eval(inspect.signature(CALLS[name]).return_annotation, known)  # the text of an annotation of our own
    assert [kind.__name__ for kind in classes_in(returned) if exported.get(kind.__name__) is not kind] == []


@pytest.mark.parametrize(("kind", "awaited"), [HANDLES[::2], HANDLES[1::2]])
def test_every_public_call_can_be_awaited(kind: type, awaited: type) -> None:
    """The handles for asyncio have every public name, and every method with its own signature and docstring."""
    members = {name: member for name, member in inspect.getmembers_static(kind) if not name.startswith("_")}
    assert [name for name in members if not hasattr(awaited, name)] == [], "declare them in pgretrieval/asynchronous.py"
    for name in [name for name, member in members.items() if inspect.isfunction(member) and name != "close"]:
        assert inspect.iscoroutinefunction(vars(awaited)[name])
        assert vars(awaited)[name].__wrapped__ is vars(kind).get(name, getattr(kind, name))


def test_every_error_is_exported() -> None:
    raised = {name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, Exception | Warning)}
    assert raised - set(pgretrieval.__all__) == set()


@pytest.mark.parametrize("name", CALLS)
def test_public_call_has_a_docstring_with_existing_errors(name: str) -> None:
    text = inspect.getdoc(CALLS[name]) or ""
    assert text
    assert [error for error in re.findall(r"\b[A-Z]\w+Error\b", text) if error not in pgretrieval.__all__] == []


@pytest.mark.parametrize("name", CALLS)
def test_public_call_explains_each_argument(name: str) -> None:
    parameters = [parameter for parameter in inspect.signature(CALLS[name]).parameters if parameter != "self"]
    text = inspect.getdoc(CALLS[name]) or ""
    if len(parameters) > 1:
        assert [parameter for parameter in parameters if not re.search(rf"^    {parameter}: ", text, re.MULTILINE)] == []


VALUES = [name for name in pgretrieval.__all__ if dataclasses.is_dataclass(getattr(pgretrieval, name))]


@pytest.mark.parametrize("name", VALUES)
def test_value_explains_each_attribute(name: str) -> None:
    kind = getattr(pgretrieval, name)
    explained = re.findall(r"^    (\w+): ", inspect.getdoc(kind) or "", re.MULTILINE)
    assert explained == [field.name for field in dataclasses.fields(kind)]


@pytest.mark.parametrize("name", DIRECTIVES)
def test_directive_names_an_existing_object(name: str) -> None:
    module, _, member = name.rpartition(".")
    __import__(module)
    assert inspect.getdoc(getattr(sys.modules[module], member))


@pytest.mark.parametrize("name", sorted(path.name for path in (ROOT / "docs" / "design").glob("*.md")))
def test_design_page_is_at_most_a_page(name: str) -> None:
    lines = (ROOT / "docs" / "design" / name).read_text(encoding="utf-8").splitlines()
    assert sum(len(line.split()) for line in lines if not line.startswith("|")) <= 500  # without its tables


def test_files_and_folders_of_the_layout_page_exist() -> None:
    text = (ROOT / "docs" / "design" / "layout.md").read_text(encoding="utf-8")
    named = {name.strip("/") for name in re.findall(r"`([a-z_/]+(?:\.py|/))`", text)}
    assert len(named) >= 25
    assert [name for name in sorted(named) if not any((folder / name).exists() for folder in (ROOT, ROOT / "pgretrieval"))] == []


def test_layout_page_names_each_folder_of_the_package() -> None:
    text = (ROOT / "docs" / "design" / "layout.md").read_text(encoding="utf-8")
    folders = [path.parent.name for path in (ROOT / "pgretrieval").glob("*/__init__.py")]
    assert [folder for folder in folders if f"`{folder}/`" not in text] == []
