"""Lines of unconnected words, so that the models meet more words than any text of ours holds.

    pip install wordfreq==3.1.1
    python -m demo.text.word_lists --lines 35000 --seed 1 >> train_formal.txt

Word forms and their frequencies come from wordfreq (Speer 2022; data CC BY-SA 4.0), are kept when pymorphy3 knows them,
and get their ё back from its dictionary. Training only: none of it ships.
"""

from __future__ import annotations

import argparse
import re
from itertools import islice

import numpy as np

from demo.text.cleaning import clean, is_known, restore_yo

WORDS = 120_000
FLATTENING = 0.4  # exponent on the frequency: rare words are what these lines are for
LONGEST_WORD = 16


def vocabulary(limit: int = WORDS) -> tuple[list[str], np.ndarray]:
    """Known Russian word forms, and how often each is to be drawn (sums to 1)."""
    import wordfreq

    ranked = (w for w in wordfreq.top_n_list("ru", 2 * limit) if re.fullmatch("[а-яё]+", w))
    words = [w for w in islice(ranked, limit) if len(w) <= LONGEST_WORD and is_known(w)]
    weights = np.array([wordfreq.word_frequency(word, "ru") ** FLATTENING for word in words])
    return [restore_yo(word) for word in words], weights / weights.sum()


def lines(words: list[str], shares: np.ndarray, count: int, seed: int) -> list[str]:
    """`count` clean lines of 3–8 words (offensive ones are dropped and replaced)."""
    rng = np.random.default_rng(seed)
    made: list[str] = []
    while len(made) < count:
        picked = " ".join(words[i] for i in rng.choice(len(words), rng.integers(3, 9), p=shares))
        line = clean(picked + str(rng.choice([".", ".", ".", "?", "!"])))
        if line is not None:
            made.append(line)
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, required=True)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    print("\n".join(lines(*vocabulary(), arguments.lines, arguments.seed)))


if __name__ == "__main__":
    main()
