"""`pgretrieval explain`, and `search --highlight`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from rich.console import Console

import pgretrieval
from pgretrieval.cli import highlighting
from pgretrieval.cli.highlighting import print_highlighted
from pgretrieval.types import Hit, TokenMatch
from tests.fixtures.cli import Command

LONG = "filler words " * 40 + "then the RiverBank's naïve fisherman sits " + "and more filler " * 40


def hit(text: str, *words: tuple[str, float], title: str | None = None, rank: int = 1) -> Hit:
    """A hit whose tokens of these texts won with these similarities."""
    plain = Hit(rank, f"h{rank}", 2.5, title, text, {})
    starts = [(plain.encoded_text.index(word), word, similarity) for word, similarity in words]
    matches = tuple(
        TokenMatch("q", number, word, number, start, start + len(word), similarity, similarity, False)
        for number, (start, word, similarity) in enumerate(starts)
    )
    return Hit(rank, plain.id, 2.5, title, text, {}, matches, {"late": 2.5})


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Console:
    """A terminal with colours, which records what is printed."""
    made = Console(
        force_terminal=True, color_system="standard", record=True, width=300, highlight=False, markup=False, no_color=False
    )
    monkeypatch.setattr(highlighting, "results", made)
    return made


def test_matched_words_are_coloured(terminal: Console) -> None:
    """A token that is a piece of a word colours the word, in title and text; weak matches do not count; signs have no colour."""
    print_highlighted(
        [hit("the riverbank, by day.", ("bank", 0.9), ("the", 0.3), ("day", 0.7), (".", 0.9), title="A River"), hit("x")]
    )
    printed = terminal.export_text(styles=True)
    assert "the \x1b[1;33mriverbank\x1b[0m, by \x1b[33mday\x1b[0m." in printed
    print_highlighted([hit("x", ("River", 1), title="A  River")])
    printed = terminal.export_text(styles=True)
    assert "\x1b[36mA \x1b[0m\x1b[1;33mRiver\x1b[0m" in printed


def test_words_of_chinese_are_characters(terminal: Console) -> None:
    """Where spaces do not separate words, the token itself is coloured."""
    print_highlighted([hit("我爱北京天安门", ("北京", 1))])
    assert "我爱\x1b[1;33m北\x1b[0m\x1b[1;33m京\x1b[0m天安门" in terminal.export_text(styles=True)


def test_a_long_text_is_shown_where_it_matches(terminal: Console) -> None:
    """A long text is shown by the part that matches most, with ellipses; one without matches from its beginning."""
    print_highlighted(
        [hit(LONG, ("fisherman", 1), ("Bank", 0.95)), hit(LONG), hit("y" * 500, ("y", 1)), hit("a\x1b[31m b", ("b", 1))]
    )
    lines = terminal.export_text().splitlines()[1::2]
    assert lines[0].strip().startswith("… ")
    assert "RiverBank's naïve fisherman" in lines[0]
    assert all(len(line) <= 6 + 160 + 3 for line in lines)
    assert lines[1].strip().startswith("filler words")
    assert lines[1].endswith("…")
    assert lines[3].strip() == "a\\x1b[31m b"


def test_other_than_matches_are_explained(capsys: pytest.CaptureFixture[str]) -> None:
    """A note is printed once; an encoder that does not tell offsets is named; output in a pipe has no colours."""
    unplaced = Hit(1, "a", 1.0, None, "x", {}, (TokenMatch(None, 0, None, 3, None, None, 1.0, 1.0, False),), {"late": 1.0})
    print_highlighted([unplaced])
    assert "does not tell where its tokens are" in capsys.readouterr().err
    print_highlighted([Hit(n, "a", 1.0, None, "x", {}, (), {"words": 1.0}, "Why not.") for n in (1, 2)])
    assert capsys.readouterr().err == "Why not.\n"
    print_highlighted([hit("river", ("river", 1))])
    assert capsys.readouterr() == ("  1    2.500  h1\n      river\n", "")


@pytest.fixture
def docs(database: pgretrieval.RetrievalDatabase) -> pgretrieval.Collection:
    collection = database.create_collection("docs", encoder="minilm")
    collection.add(
        [{"id": "a", "title": "Rivers", "text": "Water flows to the sea."}, {"id": "b", "text": "money", "metadata": {"n": 1}}]
    )
    return collection


def test_search_highlights(command: Command, docs: pgretrieval.Collection) -> None:
    """--highlight prints what a search prints; with --json it adds matches and components."""
    plain, shown = command("search", "docs", "flowing water"), command("search", "docs", "flowing water", "--highlight")
    assert plain == shown
    code, out, err = command("search", "docs", "flowing water", "--highlight", "--json")
    assert (code, err) == (0, "")
    best = json.loads(out.splitlines()[0])
    assert list(best)[-3:] == ["matches", "components", "note"]
    assert [match["token"] for match in best["matches"]][1:3] == ["flows", "Water"]
    assert best["matches"][2]["query_token"] == "water"
    assert "matches" not in json.loads(command("search", "docs", "flowing water", "--json")[1].splitlines()[0])


def test_explain_prints_a_table(command: Command, docs: pgretrieval.Collection) -> None:
    """The outcome, what the passage lacks, ranks and matches."""
    code, out, err = command("explain", "docs", "flowing water", "b", "-k", "1")
    assert (code, err) == (0, "")
    assert "not a hit of the hybrid search, score" in out
    assert "- It ranks below hit 1 of the hybrid search." in out
    assert "- Of the query's words it does not contain: flowing, water." in out
    assert "words  none" in out
    assert "[CLS]" in out
    assert "hit 1 of the hybrid search" in command("explain", "docs", "flowing water", "a")[1]
    late = command("explain", "docs", "flowing water", "b", "-k", "1", "--mode", "late")[1]
    assert "not a hit of the search by late interaction, score" in late
    assert "- Its score," in late
    assert "mode is 'fuzzy'" in command("explain", "docs", "flowing water", "b", "--mode", "fuzzy")[2]
    excluded = command("explain", "docs", "flowing water", "a", "--where", '{"n": 1}')[1]
    assert "- The filter where= excludes it" in excluded


def test_explain_prints_json(command: Command, docs: pgretrieval.Collection) -> None:
    """--json prints `MatchExplanation.as_dict`."""
    code, out, _ = command("explain", "docs", "flowing water", "a", "--json")
    found = json.loads(out)
    assert (code, found["rank"], found["passage"]["id"]) == (0, 1, "a")
    assert found == json.loads(json.dumps(docs.explain_match("flowing water", "a", mode="hybrid").as_dict()))
    assert len(found["similarities"]) == len(found["query_tokens"]) == 4


def test_explain_writes_a_page(command: Command, docs: pgretrieval.Collection, tmp_path: Path) -> None:
    """--html writes the page; a folder that is missing and an unknown passage are errors of one line."""
    path = tmp_path / "page.html"
    code, out, err = command("explain", "docs", "flowing water", "a", "--html", path)
    assert (code, out, err) == (0, "", f"wrote {path}\n")
    written = path.read_text(encoding="utf-8")
    assert written.startswith("<!doctype html>")
    assert "<h1><bdi>Rivers</bdi></h1>" in written
    code, _, err = command("explain", "docs", "flowing water", "a", "--html", tmp_path / "none" / "page.html")
    assert (code, err.count("\n")) == (1, 1)
    assert "--html cannot be written" in err
    code, _, err = command("explain", "docs", "flowing water", "zz")
    assert (code, err) == (1, "error: collection 'docs' has no passage 'zz'; give the id of a stored passage\n")
