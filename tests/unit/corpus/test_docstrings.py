from __future__ import annotations

import sys
import sysconfig

import pytest

from pgretrieval.corpus.docstrings import standard_library_passages
from pgretrieval.corpus.validate import to_passage
from pgretrieval.errors import InputError


@pytest.fixture(scope="module")
def passages():
    return list(standard_library_passages())


@pytest.fixture
def library(tmp_path, monkeypatch):
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path))

    def write(**files: str | bytes):
        for name, source in files.items():
            path = tmp_path / (name.replace("__in__", "/") + ".py")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(source.encode() if isinstance(source, str) else source)
        return list(standard_library_passages())

    return write


def test_there_are_several_thousand_with_unique_ids(passages):
    assert len(passages) >= 3_000
    assert len({passage.id for passage in passages}) == len(passages)


def test_every_passage_can_be_stored(passages):
    for passage in passages:
        assert to_passage(passage, passage.id) == passage
        assert passage.text == passage.text.strip()


def test_metadata(passages):
    assert {passage.metadata["kind"] for passage in passages} == {"module", "class", "function", "method"}
    for passage in passages:
        assert set(passage.metadata) == {"module", "kind", "line"}
        assert passage.metadata["line"] >= 1
        module = passage.metadata["module"]
        assert passage.id == module if passage.metadata["kind"] == "module" else passage.id.startswith(f"{module}.")


def test_known_passages(passages):
    by_id = {passage.id: passage for passage in passages}
    assert by_id["json"].metadata == {"module": "json", "kind": "module", "line": 1}
    assert by_id["json"].text.startswith("JSON (JavaScript Object Notation)")
    assert by_id["json.loads"].title.startswith("json.loads(s, *, cls=None")
    assert by_id["json.loads"].metadata["kind"] == "function"
    assert by_id["argparse.ArgumentParser"].metadata["kind"] == "class"
    assert by_id["textwrap.TextWrapper.wrap"].title == "textwrap.TextWrapper.wrap(self, text)"
    assert by_id["textwrap.TextWrapper.wrap"].metadata["kind"] == "method"
    assert "__future__" in by_id


def test_tests_and_private_modules_are_left_out(passages):
    modules = {passage.metadata["module"] for passage in passages}
    parts = {part for module in modules for part in module.split(".")}
    assert not parts & {"test", "tests", "idle_test", "site-packages", "dist-packages", "turtledemo", "_pydecimal"}
    assert {part for part in parts if part.startswith("_")} == {"__future__"}


def test_order_is_the_same_every_time(library):
    source = '"""M."""\n' + "".join(f'def f{i}():\n    "F{i}."\n' for i in range(3))
    first = library(b=source, a=source, b1=source)
    assert [passage.id for passage in first[:5]] == ["a", "a.f0", "a.f1", "a.f2", "b"]
    assert library() == first


def test_nothing_is_imported_or_run(library):
    library(never_to_be_imported='"""Doc."""\nraise SystemExit\n')
    assert "never_to_be_imported" not in sys.modules


def test_packages_redefinitions_and_nesting(library):
    passages = library(
        pkg__in____init__='"""Package."""',
        pkg__in__mod='''
class A:
    """A class."""
    class B:
        """Inner."""
        async def go(self, x: int = 1) -> None:
            """
            Go.
                indented
            """
            def inner(): "left out"
    @property
    def p(self): "Get."
    @p.setter
    def p(self, value): "Set."
    def blank(self): "  "
    def none(self): pass
try:
    def f(): "First."
except ImportError:
    def f(): "Second."
''',
    )
    assert [(p.id, p.title, p.text, p.metadata["kind"], p.metadata["line"]) for p in passages] == [
        ("pkg", "pkg", "Package.", "module", 1),
        ("pkg.mod.A", "pkg.mod.A", "A class.", "class", 2),
        ("pkg.mod.A.B", "pkg.mod.A.B", "Inner.", "class", 4),
        ("pkg.mod.A.B.go", "pkg.mod.A.B.go(self, x: int=1)", "Go.\n    indented", "method", 6),
        ("pkg.mod.A.p", "pkg.mod.A.p(self)", "Get.", "method", 13),
        ("pkg.mod.A.p#2", "pkg.mod.A.p(self, value)", "Set.", "method", 15),
        ("pkg.mod.f", "pkg.mod.f()", "First.", "function", 19),
        ("pkg.mod.f#2", "pkg.mod.f()", "Second.", "function", 21),
    ]


def test_files_that_do_not_parse_and_skipped_folders(library):
    documented = '"""Doc."""'
    passages = library(
        good=documented,
        broken="def",
        latin=b'"""\xe9"""',
        cookie=b'# coding: latin-1\n"""\xe9t\xe9"""',
        _private=documented,
        test__in__a=documented,
        pkg__in__tests__in__a=documented,
    )
    assert [(passage.id, passage.text) for passage in passages] == [("cookie", "été"), ("good", "Doc.")]


def test_nul_and_surrogates_are_written_as_escapes(library):
    (passage,) = library(m=r'"""a\0b\ud800"""')
    assert passage.text == r"a\0b\ud800"


def test_no_sources(library, tmp_path):
    with pytest.raises(InputError, match="no Python sources") as caught:
        library()
    assert str(tmp_path) in str(caught.value)
