"""Bradley–Terry strengths from blind votes (Bradley & Terry 1952), with bootstrap intervals.

A tie counts half a win for each side; "both bad" says nothing about which is better and is left out. Half a virtual tie
between every pair that was compared keeps the strengths finite where one candidate never lost.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from evaluation.store import Vote

DRAWS = 400
SEED = 20_261
MIN_VOTES = 10  # per candidate; below, the page says that there is too little
PRIOR = 0.5  # wins that each side of a compared pair is given in advance
ROUNDS = 200


@dataclass(frozen=True)
class Standing:
    """One candidate: `strength` is its chance against an average opponent, with a 95 % interval."""

    name: str
    strength: float
    low: float
    high: float
    votes: int
    enough: bool


def standings(votes: Sequence[Vote]) -> list[Standing]:
    """Strongest first; empty without a vote that tells two candidates apart."""
    told = [vote for vote in votes if vote.choice != "both_bad" and vote.left_name != vote.right_name]
    names = sorted({name for vote in told for name in (vote.left_name, vote.right_name)})
    if not names:
        return []
    index = {name: number for number, name in enumerate(names)}
    pairs = np.array([(index[vote.left_name], index[vote.right_name]) for vote in told])
    left = np.array([{"left": 1.0, "right": 0.0, "tie": 0.5}[vote.choice] for vote in told])
    strengths = fit(pairs, left, len(names))
    rng = np.random.default_rng(SEED)
    drawn = np.array(
        [fit(pairs[chosen], left[chosen], len(names)) for chosen in rng.integers(len(told), size=(DRAWS, len(told)))]
    )
    low, high = np.percentile(drawn, [2.5, 97.5], axis=0)
    counts = np.bincount(pairs.ravel(), minlength=len(names))
    found = [
        Standing(name, float(strengths[i]), float(low[i]), float(high[i]), int(counts[i]), bool(counts[i] >= MIN_VOTES))
        for name, i in index.items()
    ]
    return sorted(found, key=lambda one: -one.strength)


def fit(pairs: np.ndarray, left: np.ndarray, count: int) -> np.ndarray:
    """Chance of each candidate against an average one, float64[count], by the MM iteration of Hunter (2004).

    pairs: int[n, 2], who stood left and right; left: float[n], what the left one got (1, 0.5 or 0).
    """
    wins = np.zeros((count, count))
    np.add.at(wins, (pairs[:, 0], pairs[:, 1]), left)
    np.add.at(wins, (pairs[:, 1], pairs[:, 0]), 1 - left)
    wins += PRIOR * ((wins + wins.T) > 0)
    games = wins + wins.T
    won = wins.sum(axis=1)
    strength = np.ones(count)
    for _ in range(ROUNDS):
        sums = (games / (strength[:, None] + strength[None, :])).sum(axis=1)
        fresh = np.where(sums > 0, won / np.where(sums > 0, sums, 1), strength)
        fresh = np.maximum(fresh, 1e-9)
        fresh /= np.exp(np.log(fresh).mean())
        if np.allclose(fresh, strength, rtol=1e-7):
            break
        strength = fresh
    return strength / (1 + strength)
