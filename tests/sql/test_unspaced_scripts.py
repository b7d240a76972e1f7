"""Words of scripts without spaces: pairs of neighbouring characters, found by words."""

from __future__ import annotations

import re

import psycopg
import pytest

import pgretrieval
from tests.support.encoder import HashedEncoder

PASSAGES = {
    "kyoto": "京都は日本の古い都です。寺院が多い。",
    "tokyo": "東京都は日本の首都であり、人口が多い。",
    "wetter": "Heute ist schönes Wetter in 東京.",
    "bangkok": "กรุงเทพมหานครเป็นเมืองหลวงของประเทศไทย",
}
UNSPACED = r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff𠀀-𿿿"
TEXTS = ["東", "東京", "東京都", "東京都庁", "a東b", "a東京b c", "東京都 京都府。大阪"]
TEXTS += ["すもももももものうち", "กรุงเทพ", "𠮷野家", "", "abc"]


def pairs(text: str) -> list[str]:
    """Other words of the text, and of each run of such characters all pairs, or its only character."""
    words = []
    for run in re.findall(f"[{UNSPACED}]+|[a-z]+", text):
        one = len(run) == 1 or run.isascii()
        words += [run] if one else [run[i : i + 2] for i in range(len(run) - 1)]
    return words


@pytest.mark.parametrize("text", TEXTS)
def test_pairs_are_all_neighbours(database_url: str, database: pgretrieval.RetrievalDatabase, text: str):
    with psycopg.connect(database_url) as connection:
        [found] = connection.execute("select pgretrieval.character_pairs(%s)", [text]).fetchone() or [""]
    assert sorted(word for word in found.split() if word != "。") == sorted(pairs(text))


def test_the_scripts_are_a_bracket_expression(database_url: str, database: pgretrieval.RetrievalDatabase):
    """Letters of scripts with spaces are not among them."""
    statement = "select %s ~ ('^[' || pgretrieval.unspaced_scripts() || ']+$')"
    inside, outside = ["漢かカ", "ไทยລາວខ្មែរ", "𠮷"], ["a", "é", "д", "한", "ا"]
    with psycopg.connect(database_url) as connection:
        found = {text: connection.execute(statement, [text]).fetchone() for text in [*inside, *outside]}
    assert [text for text, row in found.items() if row == (True,)] == inside


@pytest.mark.parametrize("text", ["The rivers run.", "Überschrift — naïve café", "한국어 문장", "price: 3.5 € http://a.b/c"])
def test_other_texts_have_the_words_of_the_configuration(database_url: str, database: pgretrieval.RetrievalDatabase, text: str):
    with psycopg.connect(database_url) as connection:
        statement = "select pgretrieval.text_words('english', %(text)s) = to_tsvector('english', %(text)s)"
        assert connection.execute(statement, {"text": text}).fetchone() == (True,)


def test_a_part_of_a_sentence_is_found(database: pgretrieval.RetrievalDatabase, hashed_encoder: HashedEncoder):
    """With and without an index, in Python and SQL; the pairs of a longer query weigh more than one shared character."""
    docs = database.create_collection("words", encoder=hashed_encoder)
    docs.add([{"id": key, "text": text} for key, text in PASSAGES.items()])
    for _ in range(2):
        assert [hit.id for hit in docs.text_search("京都の寺院", k=1)] == ["kyoto"]
        assert {hit.id for hit in docs.text_search("東京")} == {"tokyo", "wetter"}
        assert [hit.id for hit in docs.text_search("เมืองหลวง")] == ["bangkok"]
        assert [hit.id for hit in docs.text_search("Wetter")] == ["wetter"]
        with psycopg.connect(database.url) as connection:
            found = connection.execute("select id from pgretrieval.text_search('words', '首都', k => 1)").fetchall()
        assert found == [("tokyo",)]
        docs.build()
    assert docs.check() == []
