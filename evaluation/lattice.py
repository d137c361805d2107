"""The one alignment core: a reference's words against a lattice of ways to write the hypothesis.

A lattice is a directed graph whose edges carry words. Plain text is a lattice with one path; «23 рублями» is one with
a path for every form in which «23» may be read. The best path and its alignment with the reference are found together
by the edit-distance recurrence over the graph's nodes in topological order (Wagner & Fischer 1974, on a graph).

Cost, in order of weight: word edits (so the count is the word-level Levenshtein distance, the numerator of WER); then
substitutions (of equally short scripts, the one with most words right); then characters edited (so that words that look
alike stand opposite each other). All three are packed in one int64.
"""

from collections.abc import Container, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

EDIT = 1 << 40  # one word edit outweighs
SUBSTITUTION = 1 << 24  # fewer than 65,536 of them weigh less than an edit; one outweighs 16.7 million character edits

TABLE = 4_000_000  # cells; a larger table is cut into pieces of about PIECE words (an hour of speech has 9,000)
PIECE = 1_000

Costs = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Step:
    """One step of an alignment: `reference` and `hypothesis` are indices into the two word lists, None at a gap."""

    reference: int | None
    hypothesis: int | None


@dataclass
class Lattice:
    """Nodes are 0..n in topological order; `add` appends a span with one or more ways to say it."""

    size: int = 1  # number of nodes
    edges: list[tuple[int, int, str]] = field(default_factory=list)  # (from, to, word), from < to
    end: int = 0  # the last node of the main path
    start_of: list[int] = field(default_factory=list)  # node before each span, for `bridge`
    skips: list[tuple[int, int]] = field(default_factory=list)  # (from, to) edges without a word

    def add(self, alternatives: Sequence[Sequence[str]]) -> None:
        """Append a span; each alternative is a list of words (an empty one lets the span vanish)."""
        self.start_of.append(self.end)
        self._paths(self.end, alternatives)

    def bridge(self, spans: int, alternatives: Sequence[Sequence[str]]) -> None:
        """Append further ways to say the last `spans` spans together."""
        self._paths(self.start_of[-spans], alternatives, close=self.end)

    def _paths(self, start: int, alternatives: Sequence[Sequence[str]], close: int | None = None) -> None:
        tails: list[tuple[int, str | None]] = []
        for words in dict.fromkeys(tuple(words) for words in alternatives):
            node = start
            for word in words[:-1]:
                self.edges.append((node, self.size, word))
                node, self.size = self.size, self.size + 1
            tails.append((node, words[-1] if words else None))
        # The meeting node gets the highest number, so that numbers stay a topological order.
        target, self.size = self.size, self.size + 1
        if close is not None:
            self.skips.append((close, target))
        for node, last in tails:
            if last is None:
                self.skips.append((node, target))
            else:
                self.edges.append((node, target, last))
        self.end = target


def plain(words: Sequence[str]) -> Lattice:
    """The lattice with one path."""
    size = len(words) + 1
    return Lattice(size, [(i, i + 1, word) for i, word in enumerate(words)], size - 1)


def align_plain(reference: Sequence[str], words: Sequence[str]) -> list[Step]:
    """The alignment of two word lists; long ones piece by piece, with as few edits as whole."""
    steps: list[Step] = []
    start = (0, 0)
    for end in [*cuts(reference, words), (len(reference), len(words))]:
        _, piece = align(reference[start[0] : end[0]], plain(words[start[1] : end[1]]))
        steps += shifted(piece, *start)
        start = end
    return steps


def cuts(
    reference: Sequence[str], words: Sequence[str], allowed: Container[int] | None = None
) -> list[tuple[int, int]]:
    """Where a table that is too large may be cut: (index into reference, into words), inside runs of equal words of a
    shortest edit script, so that the pieces together cost no edit more than the whole. allowed: indices into
    `words`."""
    if len(reference) * len(words) <= TABLE:
        return []
    from rapidfuzz.distance import Levenshtein

    points, last = list[tuple[int, int]](), 0
    for run in Levenshtein.opcodes(list(reference), list(words)):
        if run.tag != "equal":
            continue
        for i in range(max(run.src_start + 1, last + PIECE), run.src_end):
            j = run.dest_start + i - run.src_start
            if i >= last + PIECE and (allowed is None or j in allowed):
                points.append((i, j))
                last = i
    return points


def shifted(steps: Sequence[Step], reference: int, hypothesis: int) -> list[Step]:
    """Steps of a piece that begins at these indices."""
    return [
        Step(
            None if step.reference is None else step.reference + reference,
            None if step.hypothesis is None else step.hypothesis + hypothesis,
        )
        for step in steps
    ]


def align(reference: Sequence[str], lattice: Lattice) -> tuple[list[str], list[Step]]:
    """The lattice's cheapest path as words, and its alignment with `reference`.

    O(edges · len(reference)) time and O(nodes · len(reference)) memory.
    """
    costs = _Costs(reference, lattice)
    incoming: list[list[tuple[int, str | None]]] = [[] for _ in range(lattice.size)]
    for start, end, word in lattice.edges:
        incoming[end].append((start, word))
    for start, end in lattice.skips:
        incoming[end].append((start, None))
    rows = np.empty((lattice.size, len(reference) + 1), np.int64)
    rows[0] = costs.deleted_before
    for node in range(1, lattice.size):
        row = np.min([costs.after(rows[start], word) for start, word in incoming[node]], axis=0)
        # Deleting reference words k..i costs a difference of prefix sums, so the best k is a running minimum.
        rows[node] = np.minimum.accumulate(row - costs.deleted_before) + costs.deleted_before
    return _trace(reference, lattice, rows, incoming, costs)


class _Costs:
    """The cost of each kind of step, for one reference and one lattice."""

    def __init__(self, reference: Sequence[str], lattice: Lattice) -> None:
        from rapidfuzz.distance import Levenshtein
        from rapidfuzz.process import cdist

        deletions = np.array([EDIT + len(word) for word in reference], np.int64)
        self.deleted_before: Costs = np.concatenate([np.zeros(1, np.int64), np.cumsum(deletions)])
        columns = {word: i for i, word in enumerate(dict.fromkeys(reference))}
        self._column_of = np.array([columns[word] for word in reference], np.int64)
        self._row_of = {word: i for i, word in enumerate(dict.fromkeys(word for _, _, word in lattice.edges))}
        if columns and self._row_of:
            letters = cdist(list(self._row_of), list(columns), scorer=Levenshtein.distance, dtype=np.int32)
            self._substitution = np.where(letters == 0, 0, EDIT + SUBSTITUTION + letters.astype(np.int64))

    def substitution(self, word: str) -> Costs:
        """int64[len(reference)]: the cost of `word` in the place of each reference word (0 where they are equal)."""
        if not len(self._column_of):
            return np.empty(0, np.int64)
        row: Costs = self._substitution[self._row_of[word]][self._column_of]
        return row

    def insertion(self, word: str) -> int:
        return EDIT + len(word)

    def after(self, row: Costs, word: str | None) -> Costs:
        """The row of costs at an edge's end, before deletions, from the row at its start."""
        if word is None:
            return row
        out: Costs = row + self.insertion(word)
        out[1:] = np.minimum(out[1:], row[:-1] + self.substitution(word))
        return out


def _trace(
    reference: Sequence[str],
    lattice: Lattice,
    rows: Costs,
    incoming: list[list[tuple[int, str | None]]],
    costs: _Costs,
) -> tuple[list[str], list[Step]]:
    """Walk back from the end, recomputing which step explains each cost. Ties: substitution, insertion, deletion."""
    words: list[str] = []
    steps: list[Step] = []  # hypothesis indices count from the end until the last line
    node, at = lattice.end, len(reference)
    while node or at:
        for start, word in incoming[node]:
            if word is None:
                if rows[start, at] == rows[node, at]:
                    node = start
                    break
            elif at and rows[start, at - 1] + costs.substitution(word)[at - 1] == rows[node, at]:
                steps.append(Step(at - 1, len(words)))
                words.append(word)
                node, at = start, at - 1
                break
            elif rows[start, at] + costs.insertion(word) == rows[node, at]:
                steps.append(Step(None, len(words)))
                words.append(word)
                node = start
                break
        else:
            steps.append(Step(at - 1, None))
            at -= 1
    last = len(words) - 1
    numbered = [Step(s.reference, None if s.hypothesis is None else last - s.hypothesis) for s in reversed(steps)]
    return words[::-1], numbered
