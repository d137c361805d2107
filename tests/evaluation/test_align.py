"""Alignments worked out by hand, and the count of edits against jiwer's for random texts."""

import random

import jiwer
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation import lattice
from evaluation.align import align_three, align_words, split_words
from evaluation.scores import agreement, compare


def picture(reference: str, hypothesis: str) -> list[tuple[str | None, str | None]]:
    return [(edit.reference, edit.hypothesis) for edit in align_words(reference, hypothesis)]


@pytest.mark.parametrize(
    ("reference", "hypothesis", "expected"),
    [
        ("мама мыла раму", "мама мыла раму", [("мама", "мама"), ("мыла", "мыла"), ("раму", "раму")]),
        # Three edits either way; the look-alikes stand opposite each other.
        ("в большом доме", "большого дома", [("в", None), ("большом", "большого"), ("доме", "дома")]),
        # Two edits either way; the alignment with one word right is taken.
        ("он тут", "тут был", [("он", None), ("тут", "тут"), (None, "был")]),
        ("", "слово", [(None, "слово")]),
        ("слово", "", [("слово", None)]),
        ("", "", []),
    ],
)
def test_pictures(reference: str, hypothesis: str, expected: list[tuple[str | None, str | None]]) -> None:
    assert picture(reference, hypothesis) == expected


def test_kinds_and_indices() -> None:
    kinds = [(e.kind, e.reference_index, e.hypothesis_index) for e in align_words("а б в", "а х в г")]
    assert kinds == [("equal", 0, 0), ("substitute", 1, 1), ("equal", 2, 2), ("insert", None, 3)]


words = st.lists(st.sampled_from(["да", "нет", "дом", "дома", "том"]), max_size=9)


@settings(max_examples=200, deadline=None)
@given(words.filter(bool), words)
def test_as_few_edits_as_jiwer_and_nothing_lost(reference: list[str], hypothesis: list[str]) -> None:
    edits = align_words(reference, hypothesis)
    counts = jiwer.process_words(" ".join(reference), " ".join(hypothesis))
    assert sum(e.kind != "equal" for e in edits) == counts.substitutions + counts.deletions + counts.insertions
    assert [e.reference for e in edits if e.reference is not None] == reference
    assert [e.hypothesis for e in edits if e.hypothesis is not None] == hypothesis


def test_lattice_takes_the_cheapest_path() -> None:
    graph = lattice.Lattice()
    graph.add([["с"]])
    graph.add([["двадцать", "три"], ["двадцатью", "тремя"], ["двадцатый"]])
    graph.add([["рублями"]])
    spoken, steps = lattice.align(["с", "двадцатью", "тремя", "рублями"], graph)
    assert spoken == ["с", "двадцатью", "тремя", "рублями"]
    assert [(s.reference, s.hypothesis) for s in steps] == [(0, 0), (1, 1), (2, 2), (3, 3)]


def test_lattice_bridge_and_empty_alternative() -> None:
    graph = lattice.Lattice()
    for word in ("кто", "то", "там"):
        graph.add([[word], []])
        if word == "то":
            graph.bridge(2, [["ктото"]])
    assert lattice.align(["ктото", "там"], graph)[0] == ["ктото", "там"]
    assert lattice.align(["то"], graph)[0] == ["то"]


def test_three_transcripts_share_columns() -> None:
    slots = align_three("Мама мыла, ну, раму", "мама мыла раму —", "Папа мыл вот раму сам")
    assert [(s.a, s.merged, s.b) for s in slots] == [
        ("Мама", "мама", "Папа"),
        ("мыла,", "мыла", "мыл"),
        ("ну,", None, "вот"),
        ("раму", "раму —", "раму"),
        (None, None, "сам"),
    ]
    assert [s.a_equals_merged for s in slots] == [True, True, False, True, True]
    assert [s.unanimous for s in slots] == [False, False, False, True, False]
    assert [(s.a_index, s.merged_index, s.b_index) for s in slots] == [
        (0, 0, 0), (1, 1, 1), (2, None, 2), (3, 2, 3), (None, None, 4),
    ]  # fmt: skip


def test_agreement_counts_columns_where_either_speaks() -> None:
    shares = agreement(align_three("Мама мыла, ну, раму", "мама мыла раму", "Папа мыл вот раму сам"))
    assert (shares.a_merged, shares.merged_b, shares.a_b) == (3 / 4, 1 / 5, 1 / 5)
    empty = agreement(align_three("", "", "слово"))
    assert (empty.a_merged, empty.merged_b, empty.a_b) == (None, 0.0, 0.0)


def test_words_given_as_a_list_keep_their_indices() -> None:
    given_words = [" Ёлка,", " —", " горит"]
    assert [(w.text, w.key) for w in split_words(given_words)] == [("Ёлка,", "елка"), ("—", ""), ("горит", "горит")]
    slots = align_three(given_words, "елка горит", "")
    assert [(s.a, s.a_index, s.merged_index) for s in slots] == [("Ёлка,", 0, 0), ("—", 1, None), ("горит", 2, 1)]


def test_an_hour_of_speech_is_cut_and_costs_no_edit_more() -> None:
    rng = random.Random(3)
    vocabulary = [f"слово{n}" for n in range(400)] + ["5", "23", "руб."]
    spoken = [rng.choice(vocabulary) for _ in range(6_000)]
    written = [word if rng.random() > 0.1 else rng.choice(["", "нет", "да нет"]) for word in spoken]
    reference, hypothesis = " ".join(spoken), " ".join(" ".join(written).split())
    assert len(lattice.cuts(spoken, hypothesis.split())) >= 4
    edits = align_words(reference, hypothesis)
    counts = jiwer.process_words(reference, hypothesis)
    assert sum(e.kind != "equal" for e in edits) == counts.substitutions + counts.deletions + counts.insertions
    assert [e.hypothesis for e in edits if e.hypothesis is not None] == hypothesis.split()
    assert [e.reference_index for e in edits if e.reference_index is not None] == list(range(6_000))
    pair = compare(reference, hypothesis)
    assert pair.word_edits <= sum(e.kind != "equal" for e in edits)
    assert [e.reference_index for e in pair.edits if e.reference_index is not None] == list(range(6_000))
    assert [e.hypothesis_index for e in pair.edits if e.hypothesis_index is not None] == list(
        range(len(pair.hypothesis_words))
    )
