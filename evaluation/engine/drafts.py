"""Drafts: what another model wrote for the same clip, offered to this model for confirmation.

A confirmed draft costs one pass instead of one pass per token; what is written is this model's own greedy choice either
way (greedy speculative decoding: Leviathan et al. 2022, arXiv:2211.17192, §2; the draft model is another transcript).
"""

from __future__ import annotations

from collections.abc import Sequence

LONGEST_MATCH = 4  # tokens
SHORTEST_MATCH = 2
LONGEST_PAUSE = 8  # tokens
# With the token before it eight: the longest pass in CUDA, which costs two and a half steps (three of a small model);
# on a CPU two of a small model, one and a half where the weights come from memory.
SHORT_OFFER = 7


def propose(written: Sequence[int], sources: Sequence[Sequence[int]], room: int) -> list[int]:
    """Tokens that may follow `written`, at most `room`, from the source whose words lead up to the same point.

    Before anything is written this is the first source. Later it is what follows the longest match of the last 4 to 2
    written tokens in a source; of several matches the one nearest to the same place, of several sources the first.
    """
    if room < 1:
        return []
    if not written:
        return list(sources[0][:room]) if sources else []
    for length in range(min(LONGEST_MATCH, len(written)), SHORTEST_MATCH - 1, -1):
        tail = tuple(written[-length:])
        for source in sources:
            ends = [i + length for i in range(len(source) - length) if tuple(source[i : i + length]) == tail]
            if ends:
                nearest = min(ends, key=lambda end: abs(end - len(written)))
                return list(source[nearest : nearest + room])
    return []


class Proposer:
    """Proposals for one window: long where the text is followed, short where it is not.

    The first offer is a whole source, and so is what comes after a short one that was confirmed whole. After any other
    the next is short, and after n in a row of which nothing was confirmed 2ⁿ tokens (at most 8) go without one: a loop
    of few tokens leads back into a draft at every step, to no avail.
    """

    def __init__(self, sources: Sequence[Sequence[int]]) -> None:
        self._sources = sources
        self._longest: int | None = None
        self._failures = 0
        self._not_before = 0

    def propose(self, written: Sequence[int], room: int) -> list[int]:
        """Tokens that may follow `written`, at most `room`; none while it pauses."""
        if len(written) < self._not_before:
            return []
        return propose(written, self._sources, room if self._longest is None else min(room, self._longest))

    def learn(self, written: int, offered: int, confirmed: int) -> None:
        """Note what became of an offer, `written` tokens having been written since."""
        if not offered:
            return
        self._longest = None if confirmed == offered >= SHORT_OFFER else SHORT_OFFER
        self._failures = 0 if confirmed else self._failures + 1
        if self._failures:
            self._not_before = written + min(LONGEST_PAUSE, 1 << self._failures)
