"""One pair of texts, aligned once; every figure is read from that one alignment."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from evaluation.align import Edit, Kind, Slot, as_edit
from evaluation.normalize_ru import VERSION, Level, align_pair


@dataclass(frozen=True)
class Pair:
    """A reference and a hypothesis as written, their normalised words and the alignment of those."""

    reference: str
    hypothesis: str
    level: Level
    reference_words: tuple[str, ...]
    hypothesis_words: tuple[str, ...]
    edits: tuple[Edit, ...]

    def count(self, kind: Kind) -> int:
        return sum(edit.kind == kind for edit in self.edits)

    @property
    def word_edits(self) -> int:
        return sum(edit.kind != "equal" for edit in self.edits)

    @cached_property
    def reference_characters(self) -> int:
        """Characters of the normalised reference, single spaces included."""
        return len(" ".join(self.reference_words))

    @cached_property
    def character_edits(self) -> int:
        """Levenshtein distance of the normalised texts in characters, spaces included (from jiwer)."""
        reference, hypothesis = " ".join(self.reference_words), " ".join(self.hypothesis_words)
        if not reference:
            return len(hypothesis)
        import jiwer

        counts = jiwer.process_characters(reference, hypothesis)
        return int(counts.substitutions + counts.deletions + counts.insertions)


@dataclass(frozen=True)
class Scores:
    """WER and CER of one pair as fractions (1.0 = 100 %), None where the normalised reference has no words."""

    wer: float | None
    cer: float | None
    substitutions: int
    deletions: int
    insertions: int
    reference_words: int
    level: Level
    normalizer: str = VERSION

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Agreement:
    """Share of the shared columns in which two transcripts say the same word; None when both transcripts are empty."""

    a_merged: float | None
    merged_b: float | None
    a_b: float | None


def compare(reference: str, hypothesis: str, level: Level = "L2") -> Pair:
    """Normalise and align. The hypothesis never changes the reference's words."""
    ref, hyp, steps = align_pair(reference, hypothesis, level)
    return Pair(reference, hypothesis, level, tuple(ref), tuple(hyp), tuple(as_edit(step, ref, hyp) for step in steps))


def score_pair(reference: str, hypothesis: str, level: Level = "L2") -> Scores:
    """WER = (S + D + I) / N over words, CER the same over characters with spaces (Morris et al. 2004, §2)."""
    pair = compare(reference, hypothesis, level)
    words, characters = len(pair.reference_words), pair.reference_characters
    return Scores(
        wer=pair.word_edits / words if words else None,
        cer=pair.character_edits / characters if characters else None,
        substitutions=pair.count("substitute"),
        deletions=pair.count("delete"),
        insertions=pair.count("insert"),
        reference_words=words,
        level=level,
    )


def agreement(slots: Sequence[Slot]) -> Agreement:
    """How far three transcripts agree, without a reference. Columns empty in both of a pair do not count for it."""

    def share(same: list[bool]) -> float | None:
        return sum(same) / len(same) if same else None

    return Agreement(
        a_merged=share([s.a_equals_merged for s in slots if s.a is not None or s.merged is not None]),
        merged_b=share([s.b_equals_merged for s in slots if s.merged is not None or s.b is not None]),
        a_b=share([s.a_equals_b for s in slots if s.a is not None or s.b is not None]),
    )
