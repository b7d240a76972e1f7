"""Matching of answers by words."""

from __future__ import annotations

import pytest

from pgretrieval.evaluate.published.answers import relevant_passages, words_of


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("The U.S. won 3-0", ["the", "u", ".", "s", ".", "won", "3", "-", "0"]),
        ("caf\u00e9", ["cafe\u0301"]),  # decomposed; the accent stays in the word
        ("snake_case", ["snake", "_", "case"]),
        ("a\u00a0b\u200bc\td", ["a", "b", "c", "d"]),  # separators and invisible characters are no words
        ("\u00bd \u2163", ["\u00bd", "\u2173"]),  # numbers of other categories are letters of a word
        ("", []),
    ],
)
def test_words_are_those_of_dpr(text: str, words: list[str]):
    assert words_of(text) == words


@pytest.mark.parametrize(
    ("answer", "text", "relevant"),
    [
        ("New York", "in new  york, 1990", 1),
        ("York", "Yorkshire", 0),
        ("1990", "in 19900", 0),
        ("New York", "new in york", 0),
        ("caf\u00e9", "the CAFE\u0301 opened", 1),
        ("cafe", "the caf\u00e9 opened", 0),
        ("U.S.", "the U. S. Army", 1),
        ("dance", "to dance", 1),
    ],
)
def test_a_passage_is_relevant_if_it_has_the_words_of_an_answer_in_order(answer: str, text: str, relevant: int):
    judged = relevant_passages({"q": ["nothing of it", answer]}, {"q": ["p"]}, {"p": text})
    assert judged["q"]["p"] == relevant


def test_a_question_without_hits_is_judged():
    assert relevant_passages({"q": ["x"]}, {}, {})["q"] == {"": 0}
