"""Operators on differences to the base, δᵢ = Xᵢ − S, and the parts they are made of.

A delta merge is: thin each δᵢ out, combine what is left (a weighted sum, or a vote of the signs), scale, add to S.
Everything is float32, one rounding per operation, in the order written.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from merger.arrays import Array, bits_of, like, ranks_by_row, single, where, zeros_like
from merger.operators import EVERYTHING, Chunk, Cut, Elementwise, with_weight


class Thinning(Protocol):
    """Keeps some elements of a delta, perhaps enlarged, and sets the others to zero."""

    def __call__(self, delta: Array, start: int) -> Array:
        """float32[n] from float32[n], a stretch that begins at element `start` of its tensor."""
        ...


@dataclass(frozen=True)
class Trim:
    """Keeps the elements that a cut selects."""

    cut: Cut = EVERYTHING

    def __call__(self, delta: Array, start: int) -> Array:
        if self.cut == EVERYTHING:
            return delta
        return where(self.cut.mask(abs(delta), start), delta, zeros_like(delta))


@dataclass(frozen=True)
class Band:
    """Keeps the elements that the wider cut selects and the narrower does not."""

    wider: Cut
    narrower: Cut

    def __call__(self, delta: Array, start: int) -> Array:
        size = abs(delta)
        return where(self.wider.mask(size, start) & ~self.narrower.mask(size, start), delta, zeros_like(delta))


def random_key(seed: int, name: str, source: int) -> int:
    """A 64-bit key for one tensor of one source: SHA-256 of seed, name and number."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{name}:{source}".encode()).digest()[:8], "little")


_WORD = 1 << 64
_GOLDEN, _FIRST, _SECOND = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


def _signed(word: int) -> int:
    word %= _WORD
    return word - _WORD if word >= _WORD // 2 else word


def random_words(key: int, start: int, example: Array) -> Array:
    """int64[n] in 0 … 2³² − 1 for elements start … start + n − 1: SplitMix64 (Steele, Lea, Flood 2014) by counter.

    A number depends on the key and the element's index alone, not on stretches, threads or the device.
    """
    n = int(example.shape[0])
    word = like(np.arange(start + 1, start + n + 1, dtype=np.int64), example)
    with np.errstate(over="ignore"):
        word = word * _signed(_GOLDEN) + _signed(key)
        for shift, factor in ((30, _FIRST), (27, _SECOND)):
            word = (word ^ _shifted(word, shift)) * _signed(factor)
    return _shifted(word ^ _shifted(word, 31), 32)


def _shifted(word: Array, count: int) -> Array:
    """Logical shift to the right of 64-bit words that are stored as signed ones."""
    return (word >> count) & ((1 << (64 - count)) - 1)


@dataclass(frozen=True)
class RandomDrop:
    """Keeps each element with probability `density` and enlarges it by 1 / density (DARE, arXiv:2311.03099, sec. 3)."""

    key: int
    density: float

    def __call__(self, delta: Array, start: int) -> Array:
        if self.density >= 1:
            return delta
        if self.density <= 0:
            return zeros_like(delta)
        kept = random_words(self.key, start, delta) < round(self.density * 2**32)
        return where(kept, delta * single(1 / self.density), zeros_like(delta))


@dataclass(frozen=True)
class RankedDrop:
    """MagPrune (DELLA, arXiv:2406.11617, sec. 3.1): the larger an element in its row, the likelier it stays.

    The rank r (0 for the smallest of n) is kept with probability density − ε/2 + ε·(r + 1)/n, and enlarged by its
    inverse. ε is narrowed to density and to 1 − density: a chance near zero would enlarge its element a hundredfold,
    and one beyond the ends of [0, 1] is none.
    """

    key: int
    density: float
    epsilon: float
    row: int

    def __call__(self, delta: Array, start: int) -> Array:
        ranks = ranks_by_row(bits_of(abs(delta)).reshape(-1, self.row))
        steps = (np.arange(1, self.row + 1, dtype=np.float64)) / self.row
        spread = min(self.epsilon, self.density, 1.0 - self.density)
        chances = np.clip(self.density - spread / 2 + spread * steps, 0.0, 1.0)
        limits = like(np.rint(chances * 2**32).astype(np.int64), delta)
        factors = like(np.divide(1.0, chances, out=np.zeros_like(chances), where=chances > 0).astype(np.float32), delta)
        flat = ranks.reshape(-1)
        kept = random_words(self.key, start, delta) < limits[flat]
        return where(kept, delta * factors[flat], zeros_like(delta))


def weighted_sum(deltas: Sequence[Array], weights: Sequence[float]) -> Array:
    """Σ wᵢ δᵢ in order; weights of zero take no part."""
    terms = [(delta, single(weight)) for delta, weight in zip(deltas, weights, strict=True) if single(weight) != 0]
    if not terms:
        return zeros_like(deltas[0])
    total = terms[0][0] * terms[0][1]
    for delta, weight in terms[1:]:
        total = total + delta * weight
    return total


def elected_mean(deltas: Sequence[Array], weights: Sequence[float], ballot: Array) -> Array:
    """Disjoint mean (TIES-Merging, arXiv:2306.01708, sec. 3): Σ wᵢ δᵢ / Σ wᵢ over the δᵢ with the sign of the ballot.

    Zero where none agrees; a ballot of exactly zero elects no sign.
    """
    numerator = denominator = None
    for delta, weight in zip(deltas, weights, strict=True):
        value = single(weight)
        if value == 0:
            continue
        agrees = ((delta > 0) & (ballot > 0)) | ((delta < 0) & (ballot < 0))
        nothing = zeros_like(delta)
        part, share = where(agrees, delta * value, nothing), where(agrees, nothing + value, nothing)
        numerator = part if numerator is None else numerator + part
        denominator = share if denominator is None else denominator + share
    if numerator is None or denominator is None:
        return zeros_like(deltas[0])
    counted = denominator > 0
    return where(counted, numerator / where(counted, denominator, zeros_like(denominator) + 1), zeros_like(numerator))


@dataclass(frozen=True)
class DeltaMerge(Elementwise):
    """S + scale · combine(thinned δᵢ): a weighted sum, or with `elect` the disjoint mean of the elected sign."""

    weights: tuple[float, ...]
    scale: float
    thinnings: tuple[Thinning, ...]
    elect: bool = False

    @property
    def taking_part(self) -> tuple[int, ...]:
        """The sources that the result depends on; all of them if it depends on none."""
        return with_weight(self.weights) or tuple(range(len(self.weights)))

    def of(self, sources: Sequence[int]) -> DeltaMerge:
        """The same for chunks that hold only these sources."""
        thinnings = tuple(self.thinnings[index] for index in sources)
        return replace(self, weights=tuple(self.weights[index] for index in sources), thinnings=thinnings)

    @property
    def row(self) -> int:
        """The longest row that a thinning looks at."""
        return max(getattr(thinning, "row", 1) for thinning in self.thinnings)

    def __call__(self, chunk: Chunk) -> Array:
        base = chunk.base
        deltas = [
            thinning(source - base, chunk.start)
            for source, thinning in zip(chunk.sources, self.thinnings, strict=True)
        ]
        if self.elect:
            combined = elected_mean(deltas, self.weights, weighted_sum(deltas, self.weights))
        else:
            combined = weighted_sum(deltas, self.weights)
        return base + combined * single(self.scale)


def keep_everything(count: int) -> tuple[Trim, ...]:
    """Thinnings that leave every delta as it is."""
    return (Trim(),) * count

