"""Elementwise operators: what a method decides to do with a tensor, ready to be applied to any stretch of it.

An operator is a frozen value: applying it to the stretches of a tensor one after the other gives the bits that applying
it to the whole gives. Formulas are float32, one rounding per operation, in the order written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from merger.arrays import Array, bits_of, copied, joined, single, where, zeros_like


@dataclass(frozen=True)
class Chunk:
    """The same stretch of one tensor in every source, flat float32 arrays; `start` is its first element's index."""

    sources: tuple[Array, ...]
    base: Array | None
    start: int = 0

    @property
    def size(self) -> int:
        """Number of elements in the stretch."""
        return int(self.sources[0].shape[0])

    def vector(self, index: int) -> Array:
        """Source `index`, or the base for −1."""
        return self.base if index < 0 else self.sources[index]


class Operator(Protocol):
    """float32[n] from n-element stretches; never changes its inputs."""

    @property
    def row(self) -> int:
        """Stretches have to be multiples of this many elements (1: any)."""
        ...

    def __call__(self, chunk: Chunk) -> Array: ...


class Elementwise:
    """An operator that can be applied to stretches of any length."""

    @property
    def row(self) -> int:
        """Any length will do."""
        return 1


@dataclass(frozen=True)
class Linear(Elementwise):
    """Σ cᵢ Xᵢ over the sources. Zero coefficients take no part; a lone coefficient 1 copies the bits, −0.0 included."""

    coefficients: tuple[float, ...]

    @property
    def taking_part(self) -> tuple[int, ...]:
        """The sources that the result depends on; all of them if it depends on none (it still has their shape)."""
        return with_weight(self.coefficients) or tuple(range(len(self.coefficients)))

    def of(self, sources: Sequence[int]) -> Linear:
        """The same for chunks that hold only these sources."""
        return Linear(tuple(self.coefficients[index] for index in sources))

    @property
    def terms(self) -> tuple[tuple[int, float], ...]:
        """(source, float32 coefficient) of the sources that take part, in order."""
        return tuple((index, single(self.coefficients[index])) for index in with_weight(self.coefficients))

    def copied_source(self) -> int | None:
        """The source that the result equals bit for bit, if it is one."""
        terms = self.terms
        return terms[0][0] if len(terms) == 1 and terms[0][1] == 1 else None

    def __call__(self, chunk: Chunk) -> Array:
        source = self.copied_source()
        if source is not None:
            return copied(chunk.sources[source])
        terms = self.terms
        if not terms:
            return zeros_like(chunk.sources[0])
        total = chunk.sources[terms[0][0]] * terms[0][1]
        for index, value in terms[1:]:
            total = total + chunk.sources[index] * value
        return total


def average(count: int = 2) -> Linear:
    """The plain mean of `count` sources; for two it is 0.5·A + 0.5·B."""
    return Linear((1 / count,) * count)


@dataclass(frozen=True)
class Difference:
    """|Xᵢ − Xⱼ|, index −1 being the base: the magnitude by which elements are selected."""

    first: int
    second: int

    def __call__(self, chunk: Chunk) -> Array:
        return abs(chunk.vector(self.first) - chunk.vector(self.second))


@dataclass(frozen=True)
class Cut:
    """The k largest magnitudes of a tensor: those above a threshold, and of the equal ones the first by position.

    `threshold` is the int32 pattern of the k-th largest magnitude; elements with exactly that pattern are in up to and
    including index `last_tie`.
    """

    threshold: int
    last_tie: int

    def mask(self, magnitudes: Array, start: int) -> Array:
        """Boolean[n]: which elements of a stretch that begins at index `start` are selected."""
        bits = bits_of(magnitudes)
        ties = min(max(self.last_tie + 1 - start, 0), int(bits.shape[0]))
        return joined([bits[:ties] >= self.threshold, bits[ties:] > self.threshold])


# Every magnitude has a pattern ≥ 0, so nothing lies above the largest pattern and everything lies above −1.
NOTHING = Cut(0x7FFFFFFF, -1)
EVERYTHING = Cut(-1, -1)


@dataclass(frozen=True)
class TopBlend(Elementwise):
    """`inside` where the magnitude of A − B is selected by the cut, `outside` elsewhere."""

    cut: Cut
    inside: Linear
    outside: Linear

    @property
    def mixtures(self) -> tuple[Linear, Linear]:
        """Inside and outside."""
        return self.inside, self.outside

    def __call__(self, chunk: Chunk) -> Array:
        mask = self.cut.mask(Difference(0, 1)(chunk), chunk.start)
        return where(mask, self.inside(chunk), self.outside(chunk))


def equal_weights(weights: Sequence[float] | None, count: int) -> tuple[float, ...]:
    """The weights that were given, or 1/count each."""
    return tuple(weights) if weights is not None else (1 / count,) * count


def with_weight(weights: Sequence[float]) -> tuple[int, ...]:
    """Which of the weights are not zero, in float32."""
    return tuple(index for index, weight in enumerate(weights) if single(weight) != 0)
