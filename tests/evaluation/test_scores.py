"""Scores and signs of one pair, worked out by hand."""

import pytest

from evaluation.metrics.hallucination import find_loop, signs
from evaluation.scores import compare, score_pair


def test_scores_of_a_pair() -> None:
    scores = score_pair("Он живёт в Москве.", "Он живет в Москву.")
    assert (scores.wer, scores.cer) == (0.25, 1 / 17)
    assert (scores.substitutions, scores.deletions, scores.insertions, scores.reference_words) == (1, 0, 0, 4)
    assert scores.to_json()["normalizer"] == "ru-2026.1"


def test_undefined_without_reference_words() -> None:
    for reference in ("", "…", " — "):
        scores = score_pair(reference, "да нет")
        assert (scores.wer, scores.cer, scores.insertions) == (None, None, 2)
    assert score_pair("да", "").wer == 1.0


def test_the_alignment_belongs_to_the_pair() -> None:
    pair = compare("Старый за́мок", "старый замок там")
    assert [(e.kind, e.reference, e.hypothesis) for e in pair.edits] == [
        ("equal", "старый", "старый"), ("equal", "замок", "замок"), ("insert", None, "там"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "loop"),
    [
        ("да да да", None),
        ("да да да да", "да"),
        ("ну вот ну вот ну вот ну вот", "ну вот"),
        ("ну вот ну вот ну вот и всё", None),
        ("начало а б в г д е а б в г д е а б в г д е а б в г д е", "а б в г д е"),
        ("", None),
    ],
)
def test_loops(words: str, loop: str | None) -> None:
    assert find_loop(words.split()) == loop


def test_signs() -> None:
    assert [s.code for s in signs("Субтитры сделал DimaTorzok", "")] == ["phrase", "phrase", "no_speech"]
    assert [(s.code, s.evidence) for s in signs("Продолжение следует...")] == [("phrase", "продолжение следует")]
    assert signs("Продолжение следует", "Продолжение следует за главой") == []
    assert signs("да да да да", "да, да, да, да!") == []
    assert signs("обычная фраза", "обычная фраза") == []
    assert signs("", "") == []
    assert [s.title.ru for s in signs("спасибо " * 6, "спасибо")] == ["зацикливание"]
