"""Words against words, and three transcripts into shared columns.

Alignment is done on normalised words; what is shown are the words as they were written. `split_words` keeps the tie
between the two: each display word carries the key by which it is compared.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from evaluation import lattice
from evaluation.normalize_ru import normalize

Kind = Literal["equal", "substitute", "insert", "delete"]
Key = Literal["a", "merged", "b"]


@dataclass(frozen=True)
class Edit:
    """One step from reference to hypothesis; the words as given, and their positions in the two lists."""

    kind: Kind
    reference: str | None
    hypothesis: str | None
    reference_index: int | None
    hypothesis_index: int | None


@dataclass(frozen=True)
class Slot:
    """One shared column of three transcripts: the words as written (None: this one says nothing here), and their
    indices into the lists of `split_words`, by which a word's times are found."""

    a: str | None
    merged: str | None
    b: str | None
    a_index: int | None
    merged_index: int | None
    b_index: int | None
    a_equals_merged: bool
    b_equals_merged: bool
    a_equals_b: bool

    @property
    def unanimous(self) -> bool:
        return self.a_equals_merged and self.b_equals_merged


@dataclass(frozen=True)
class DisplayWord:
    """A word as written and the normalised key by which it is compared («Ёлка,» and «елка»)."""

    text: str
    key: str


def split_words(text: str | Sequence[str]) -> list[DisplayWord]:
    """Words at white space, or the given words, with their keys; a sign without letters («—») joins the word before."""
    pieces = text.split() if isinstance(text, str) else [piece.strip() for piece in text]
    out: list[DisplayWord] = []
    for piece in pieces:
        key = normalize(piece, "L2").replace(" ", "")
        if not key and out and isinstance(text, str):
            out[-1] = DisplayWord(f"{out[-1].text} {piece}", out[-1].key)
        else:
            out.append(DisplayWord(piece, key))
    return out


def align_words(reference: str | Sequence[str], hypothesis: str | Sequence[str]) -> list[Edit]:
    """The fewest word edits that turn reference into hypothesis, compared word for word as given (normalise first).

    Among equally short edit scripts, words that look alike stand opposite each other: «в доме» → «дома» deletes «в».
    """
    ref = reference.split() if isinstance(reference, str) else list(reference)
    hyp = hypothesis.split() if isinstance(hypothesis, str) else list(hypothesis)
    return [as_edit(step, ref, hyp) for step in lattice.align_plain(ref, hyp)]


def as_edit(step: lattice.Step, ref: Sequence[str], hyp: Sequence[str]) -> Edit:
    """A step of the core with its words."""
    r, h = step.reference, step.hypothesis
    if r is None:
        assert h is not None
        return Edit("insert", None, hyp[h], None, h)
    if h is None:
        return Edit("delete", ref[r], None, r, None)
    return Edit("equal" if ref[r] == hyp[h] else "substitute", ref[r], hyp[h], r, h)


def align_three(a: str | Sequence[str], merged: str | Sequence[str], b: str | Sequence[str]) -> list[Slot]:
    """Three transcripts in shared columns, a word per row and column; words given as lists keep their indices.

    A and B are each aligned with the merged transcript; what both insert at the same place is aligned with each other.
    """
    words: dict[Key, list[DisplayWord]] = {"a": split_words(a), "merged": split_words(merged), "b": split_words(b)}
    keys = {name: [word.key for word in of] for name, of in words.items()}
    to_a = _by_gap(keys["merged"], keys["a"])
    to_b = _by_gap(keys["merged"], keys["b"])
    columns: list[tuple[int | None, int | None, int | None]] = []
    for position in range(len(keys["merged"]) + 1):
        extra_a, opposite_a = to_a[position]
        extra_b, opposite_b = to_b[position]
        for step in lattice.align_plain([keys["a"][i] for i in extra_a], [keys["b"][i] for i in extra_b]):
            columns.append(
                (
                    None if step.reference is None else extra_a[step.reference],
                    None,
                    None if step.hypothesis is None else extra_b[step.hypothesis],
                )
            )
        if position < len(keys["merged"]):
            columns.append((opposite_a, position, opposite_b))
    return [_slot(words, column) for column in columns]


def _by_gap(merged: list[str], other: list[str]) -> list[tuple[list[int], int | None]]:
    """For each merged word (and the end): the other's words inserted before it, and the one opposite it."""
    gaps: list[tuple[list[int], int | None]] = []
    inserted: list[int] = []
    for step in lattice.align_plain(merged, other):
        if step.reference is None:
            assert step.hypothesis is not None
            inserted.append(step.hypothesis)
        else:
            gaps.append((inserted, step.hypothesis))
            inserted = []
    return [*gaps, (inserted, None)]


def _slot(words: dict[Key, list[DisplayWord]], column: tuple[int | None, int | None, int | None]) -> Slot:
    a_index, merged_index, b_index = column
    a = None if a_index is None else words["a"][a_index]
    merged = None if merged_index is None else words["merged"][merged_index]
    b = None if b_index is None else words["b"][b_index]

    def same(x: DisplayWord | None, y: DisplayWord | None) -> bool:
        return (x.key if x else None) == (y.key if y else None)

    return Slot(
        a=a.text if a else None,
        merged=merged.text if merged else None,
        b=b.text if b else None,
        a_index=a_index,
        merged_index=merged_index,
        b_index=b_index,
        a_equals_merged=same(a, merged),
        b_equals_merged=same(b, merged),
        a_equals_b=same(a, b),
    )
