"""Russian text normalisation for scoring, `ru-2026.1`: named, versioned steps in four levels."""

import re
import unicodedata
from typing import Literal

from evaluation import lattice

VERSION = "ru-2026.1"
Level = Literal["L0", "L1", "L2", "L3"]
LEVELS: tuple[Level, ...] = ("L0", "L1", "L2", "L3")

_STRESS = re.compile("[\u0300\u0301]")
_NOT_WORD = re.compile(r"[^\w]|_")


def nfc(text: str) -> str:
    """Composed letters: NFD й (и + U+0306) becomes one letter; NFKC is not used, because it turns № into «No»."""
    return unicodedata.normalize("NFC", text)


def spaces(text: str) -> str:
    return " ".join(text.split())


def stress_marks(text: str) -> str:
    """Deletes U+0300 and U+0301 only, so that «за́мок» stays one word and й, ё keep their marks."""
    return nfc(_STRESS.sub("", text))


def lower(text: str) -> str:
    return text.lower()


def yo(text: str) -> str:
    return text.replace("ё", "е").replace("Ё", "Е")


def punctuation(text: str) -> str:
    """Everything that is neither a letter, a combining mark nor a digit becomes a space."""
    return spaces(_NOT_WORD.sub(" ", text))


STEPS = {
    "L0": (nfc, spaces),
    "L1": (nfc, stress_marks, lower, punctuation),
    "L2": (nfc, stress_marks, lower, yo, punctuation),
    "L3": (nfc, stress_marks, lower, yo, punctuation),
}


def normalize(text: str, level: Level = "L2") -> str:
    """`text` at a level: words separated by single spaces."""
    for step in STEPS[level]:
        text = step(text)
    return text


def align_pair(reference: str, hypothesis: str, level: Level = "L2") -> tuple[list[str], list[str], list[lattice.Step]]:
    """Words of the reference, words of the hypothesis in the reference's style, and their alignment."""
    ref, hyp = normalize(reference, level).split(), normalize(hypothesis, level).split()
    words, steps = lattice.align(ref, lattice.plain(hyp))
    return ref, words, steps
