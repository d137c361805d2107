"""Bradley–Terry strengths from blind votes (Bradley & Terry 1952), with intervals that few votes keep wide.

A tie counts half a win for each side; "both bad" says nothing about which is better and is left out. Every pair that
was compared starts with half a win for each side (Jeffreys' prior), so that the strengths stay finite where one never
lost. The interval comes from drawing each pair's true share of wins from its Beta posterior: resampling the votes
themselves would call two wins out of two a certainty.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from evaluation.store import Vote

DRAWS = 400
SEED = 20_261
MIN_VOTES = 10  # ballots per candidate; below, the page says that there is too little
PRIOR = 0.5  # wins that each side of a compared pair is given in advance
ROUNDS = 200


@dataclass(frozen=True)
class Standing:
    """One candidate: `strength` is its chance against an average opponent, with a 95 % interval; `votes`: ballots."""

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
    wins = np.zeros((len(names), len(names)))
    counts = [ballots([vote for vote in told if name in (vote.left_name, vote.right_name)]) for name in names]
    for vote in told:
        left, right = index[vote.left_name], index[vote.right_name]
        share = {"left": 1.0, "right": 0.0, "tie": 0.5}[vote.choice]
        wins[left, right] += share
        wins[right, left] += 1 - share
    wins += PRIOR * ((wins + wins.T) > 0)
    strengths = fit(wins)
    low, high = np.percentile(_drawn(wins), [2.5, 97.5], axis=0)
    found = [
        Standing(name, float(strengths[i]), float(low[i]), float(high[i]), counts[i], counts[i] >= MIN_VOTES)
        for name, i in index.items()
    ]
    return sorted(found, key=lambda one: -one.strength)


def ballots(votes: Sequence[Vote]) -> int:
    """How often somebody voted: a ballot over three texts speaks about several pairs, and is still one."""
    return len({vote.ballot for vote in votes if vote.ballot}) + sum(vote.ballot is None for vote in votes)


def _drawn(wins: np.ndarray) -> np.ndarray:
    """Strengths for shares of wins drawn from every pair's Beta posterior, float64[DRAWS, n]."""
    rng = np.random.default_rng(SEED)
    games = wins + wins.T
    first, second = np.nonzero(np.triu(games))
    share = rng.beta(wins[first, second], wins[second, first], size=(DRAWS, len(first)))
    samples = np.zeros((DRAWS, *wins.shape))
    samples[:, first, second] = share * games[first, second]
    samples[:, second, first] = (1 - share) * games[first, second]
    return fit(np.maximum(samples, 1e-6 * (games > 0)))


def fit(wins: np.ndarray) -> np.ndarray:
    """Chance of each candidate against an average one, float64[..., n], by the MM iteration of Hunter (2004).

    wins: float[..., n, n], how often the row beat the column; halves count. Many at once cost little more than one.
    """
    games, won = wins + wins.swapaxes(-1, -2), wins.sum(axis=-1)
    strength = np.ones(won.shape)
    for _ in range(ROUNDS):
        fresh = np.maximum(won / (games / (strength[..., :, None] + strength[..., None, :])).sum(axis=-1), 1e-9)
        fresh /= np.exp(np.log(fresh).mean(axis=-1, keepdims=True))
        if np.allclose(fresh, strength, rtol=1e-6):
            break
        strength = fresh
    return strength / (1 + strength)
