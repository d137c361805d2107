"""Case endings («падежи»), as far as text can tell.

Half of Russian nominal forms are syncretic («кости» is five forms), so a point estimate would be a lie: the case
error rate is an interval. Its lower end counts substitutions that are certainly a wrong case, its upper end adds
those that may be. Morphology: pymorphy3 (Korobov 2015) with the OpenCorpora dictionary; *all* nominal parses are
taken, never the best.
"""

from functools import lru_cache
from typing import Literal

from evaluation.metrics.registry import Counts, Figure, Line, metric
from merger.bilingual import Text

# The dictionary also has «и», «а», «при» as nouns (letters and the like); such words bear no case in a sentence.
FUNCTION_WORDS = frozenset({"CONJ", "PREP", "PRCL", "INTJ"})
NOMINAL = frozenset({"NOUN", "ADJF", "PRTF", "NPRO", "NUMR"})
# OpenCorpora's second forms are cases of their own only for a few nouns; here they are the case that they serve.
MAIN_CASE = {"gen1": "gent", "gen2": "gent", "acc2": "accs", "loc1": "loct", "loc2": "loct", "voct": "nomn"}
CASES = ("nomn", "gent", "datv", "accs", "ablt", "loct")

Form = tuple[str, str]  # (case, number); number is "" for numerals and some pronouns
Class = Literal["case", "ambiguous", "number", "lexical"]
CLASSES: dict[Class, Text] = {
    "case": Text("падеж", "case"),
    "ambiguous": Text("возможно, падеж", "possibly case"),
    "number": Text("число", "number"),
    "lexical": Text("другое слово", "other word"),
}


@lru_cache(maxsize=65_536)
def nominal_forms(word: str) -> dict[tuple[str, str], frozenset[Form]]:
    """(lemma, part of speech) → the (case, number) pairs that `word` can be; empty for a word without case."""
    from evaluation.morphology import parses

    found: dict[tuple[str, str], set[Form]] = {}
    if parses(word)[0].tag.POS in FUNCTION_WORDS:
        return {}
    for parse in parses(word):
        tag = parse.tag
        if tag.POS in NOMINAL and tag.case:
            lemma = parse.normal_form.replace("ё", "е")
            found.setdefault((lemma, tag.POS), set()).add((MAIN_CASE.get(tag.case, tag.case), tag.number or ""))
    return {key: frozenset(forms) for key, forms in found.items()}


def shared_forms(reference: str, hypothesis: str) -> tuple[frozenset[Form], frozenset[Form]] | None:
    """The forms of both words under the lemmas that they share, or None if they share none."""
    of_reference, of_hypothesis = nominal_forms(reference), nominal_forms(hypothesis)
    common = of_reference.keys() & of_hypothesis.keys()
    if not common:
        return None
    return (
        frozenset().union(*(of_reference[key] for key in common)),
        frozenset().union(*(of_hypothesis[key] for key in common)),
    )


def classify(reference: str, hypothesis: str) -> Class:
    """What kind of substitution this is; both words normalised at L2 and different."""
    shared = shared_forms(reference, hypothesis)
    if shared is None:
        return "lexical"
    cases = [{case for case, _ in forms} for forms in shared]
    if cases[0].isdisjoint(cases[1]):
        return "case"
    if cases[0] == cases[1] and shared[0].isdisjoint(shared[1]):
        return "number"
    return "ambiguous"


def confusion(reference: str, hypothesis: str) -> tuple[str, str] | None:
    """(said case, written case) where each word can be in one case only."""
    shared = shared_forms(reference, hypothesis)
    if shared is None:
        return None
    said, written = ({case for case, _ in forms} for forms in shared)
    return (said.pop(), written.pop()) if len(said) == len(written) == 1 and said != written else None


@metric(
    "cases",
    Text("Падежи", "Case endings"),
    figures=(
        Figure("case_error_low", "case", "case_bearing", Text("не меньше", "at least")),
        Figure("case_error_high", "case_or_ambiguous", "case_bearing", Text("не больше", "at most")),
        Figure("number_error", "number", "case_bearing", Text("число", "number")),
    ),
)
def measure(line: Line) -> Counts:
    """Counts of each class, of case-bearing reference words, and `confusion:said>written` of unambiguous pairs."""
    counts: Counts = dict.fromkeys(CLASSES, 0)
    counts["case_bearing"] = sum(bool(nominal_forms(word)) for word in line.reference_words)
    for edit in line.edits:
        if edit.kind == "substitute":
            assert edit.reference is not None and edit.hypothesis is not None
            counts[classify(edit.reference, edit.hypothesis)] += 1
            if pair := confusion(edit.reference, edit.hypothesis):
                key = f"confusion:{pair[0]}>{pair[1]}"
                counts[key] = counts.get(key, 0) + 1
    counts["case_or_ambiguous"] = counts["case"] + counts["ambiguous"]
    return counts
