"""Intervals and verdicts for ratios of pooled counts, resampled by speaker or recording.

Words of one speaker are not independent, so the unit that is drawn is the *block* (speaker, else recording, else
clip): Bisani & Ney 2004, with blocks. Intervals and p-values are those of the symmetric bootstrap-t (Hall 1988),
whose coverage is right to second order even for few blocks; the standard error is the linearised one of a ratio of
cluster totals (Cochran 1977, §6.4). `benchmarks/evaluation_coverage.py` checks the coverage by simulation.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import numpy.typing as npt

DRAWS = 10_000
SEED = 20_261
LEVEL, ALPHA = 0.95, 0.05
MIN_WORDS = 1_000  # a category with fewer reference words or blocks is marked insufficient
MIN_BLOCKS = 10
FEWEST_BLOCKS = 5  # with fewer, resampling says nothing and no interval is given
WIDEST = 1.25  # a single figure's quantile is at most this many times Student's
_CHUNK = 8_000_000  # draws x blocks held at a time

Array = npt.NDArray[np.float64]
Outcome = Literal["better", "worse", "indistinguishable", "insufficient"]


@dataclass(frozen=True)
class Interval:
    """A value with its 95 % interval; the ends are None where there are fewer than `FEWEST_BLOCKS`."""

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Difference:
    """candidate − baseline on the same blocks; `p` is two-sided, `holm` adjusted over the family it was tested in."""

    interval: Interval
    p: float | None
    holm: float | None = None


@lru_cache(maxsize=8)
def _weights(blocks: int, draws: int, seed: int) -> npt.NDArray[np.float32]:
    """How often each block is drawn: float32[draws, blocks]; the same draws for every figure, so that pairs stay
    pairs."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(blocks, np.full(blocks, 1 / blocks), size=draws).astype(np.float32)


def _statistic(parts: Sequence[tuple[Array, Array]], weights: Array) -> tuple[Array, Array]:
    """(value, standard error) of the last part's ratio minus the first one's (or of the only part's), per draw.

    weights: [draws, blocks], how often each block was drawn.
    """
    blocks = weights.shape[1]
    value, residual = np.zeros(len(weights)), np.zeros(weights.shape)
    for sign, (numerator, denominator) in zip((1.0, -1.0), reversed(parts), strict=False):
        total = weights @ denominator
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = (weights @ numerator) / total
            value += sign * ratio
            residual += sign * (numerator[None] - ratio[:, None] * denominator[None]) / total[:, None]
    variance = np.einsum("db,db->d", weights, residual**2) * blocks / (blocks - 1)
    return value, np.sqrt(variance)


def _studentised(
    parts: Sequence[tuple[Array, Array]], draws: int, seed: int, value: float, logarithm: bool
) -> tuple[Array, bool]:
    """|t| of every draw, and whether it is on the logarithmic scale (only if asked for, and no draw is 0)."""
    weights = _weights(len(parts[0][0]), draws, seed)
    step = max(1, _CHUNK // weights.shape[1])
    chunks = [_statistic(parts, weights[i : i + step].astype(np.float64)) for i in range(0, draws, step)]
    drawn, errors = (np.concatenate(part) for part in zip(*chunks, strict=True))
    logarithm = logarithm and bool(np.all(drawn > 0))
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.abs(np.log(drawn / value)) * drawn / errors if logarithm else np.abs(drawn - value) / errors
    # A draw without spread tells nothing if it repeats the value, and is as far as can be if it does not.
    return np.where(np.isnan(t), np.where(drawn == value, 0.0, np.inf), t), logarithm


def _symmetric_t(
    parts: Sequence[tuple[Array, Array]], draws: int, seed: int, single: bool = False
) -> tuple[Interval, float | None]:
    """(interval, two-sided p against 0); ends and p are None where they are not defined."""
    blocks = len(parts[0][0])
    if blocks < FEWEST_BLOCKS:
        ratios = [float(numerator.sum() / denominator.sum()) for numerator, denominator in parts]
        return Interval(ratios[-1] - (ratios[0] if len(ratios) > 1 else 0.0), None, None), None
    value, error = (float(part[0]) for part in _statistic(parts, np.ones((1, blocks))))
    if error == 0.0:
        return Interval(value, value, value), None if value == 0.0 else 1 / (draws + 1)
    t, logarithm = _studentised(parts, draws, seed, value, logarithm=single)
    quantile = float(np.quantile(t[np.isfinite(t)], LEVEL, method="higher"))
    if single:
        quantile = min(quantile, WIDEST * student(blocks - 1))
    p = float((1 + np.sum(t >= abs(value) / error)) / (draws + 1))
    if logarithm:
        factor = float(np.exp(min(700.0, quantile * error / value)))  # exp(700) is near the largest double
        return Interval(value, value / factor, value * factor), p
    return Interval(value, value - quantile * error, value + quantile * error), p


def student(freedom: int) -> float:
    """Student's two-sided 95 % quantile, to 0.5 % from 4 degrees of freedom on (Abramowitz & Stegun 26.7.5)."""
    z = 1.959964
    terms = (
        z,
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
    )
    return float(sum(term / freedom**power for power, term in enumerate(terms)))


def ratio_interval(numerator: Array, denominator: Array, draws: int = DRAWS, seed: int = SEED) -> Interval | None:
    """The pooled ratio of per-block sums with its interval; None while the pooled denominator is 0.

    numerator, denominator: float[blocks]. The interval is made on the logarithmic scale, where a ratio of counts is
    nearly symmetric and which keeps it positive. Few and unequal blocks make some draws nearly free of spread, and
    the bootstrap's quantile then runs away: it is held at `WIDEST` times Student's, which costs no coverage. Where
    nothing at all was counted, the upper end is the rule of three, 3 / denominator (Hanley & Lippman-Hand 1983),
    which takes the counted things as independent.
    """
    numerator, denominator = np.asarray(numerator, float), np.asarray(denominator, float)
    if denominator.sum() == 0:
        return None
    if not numerator.any():
        return Interval(0.0, 0.0, min(1.0, 3 / float(denominator.sum())))
    interval, _ = _symmetric_t([(numerator, denominator)], draws, seed, single=True)
    return interval if interval.low is None else Interval(interval.value, max(0.0, interval.low), interval.high)


def paired_difference(
    baseline: tuple[Array, Array], candidate: tuple[Array, Array], draws: int = DRAWS, seed: int = SEED
) -> Difference | None:
    """candidate's ratio minus baseline's, both measured on the same blocks; None where either is undefined."""
    parts = [(np.asarray(n, float), np.asarray(d, float)) for n, d in (baseline, candidate)]
    if any(denominator.sum() == 0 for _, denominator in parts):
        return None
    return Difference(*_symmetric_t(parts, draws, seed))


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's step-down adjustment (Holm 1979); None stays None and does not count."""
    order = sorted((p, i) for i, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    worst = 0.0
    for rank, (p, i) in enumerate(order):
        worst = max(worst, min(1.0, p * (len(order) - rank)))
        adjusted[i] = worst
    return adjusted


def sufficient(words: float, blocks: int) -> bool:
    """Whether a category holds enough to be judged."""
    return words >= MIN_WORDS and blocks >= MIN_BLOCKS


def verdict(difference: Difference | None, enough: bool, lower_is_better: bool = True) -> Outcome:
    """What the data say of the candidate, at 5 % after Holm's adjustment."""
    if not enough or difference is None or difference.holm is None:
        identical = enough and difference is not None and difference.interval.value == 0.0
        return "indistinguishable" if identical else "insufficient"
    if difference.holm >= ALPHA:
        return "indistinguishable"
    return "better" if (difference.interval.value < 0) == lower_is_better else "worse"
