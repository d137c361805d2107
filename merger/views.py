"""What a method sees of one tensor: as little as it asks for, without knowing where the numbers lie.

`TensorView` measures by passing over stretches (`chunks`), with plain array code: the definition that every faster
measurement is tested against. `WholeTensor` holds arrays in memory; the streaming view of the disk engine reads files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from merger.arrays import Array, bits_of, counts, is_torch, positions, to_double
from merger.layout import Place
from merger.operators import EVERYTHING, NOTHING, Chunk, Cut

LANES = 32  # partial sums that are kept apart, then added in order: fast in vector registers, and reproducible
SUM_BLOCK = 1 << 18  # elements whose sums are finished before they are added to the total
LOW_BITS = 15  # a non-negative float32 pattern has 31 bits: 16 high ones for the first histogram, 15 for the second

Magnitude = Callable[[Chunk], Array]  # float32[n] ≥ 0


class TensorView:
    """One tensor in every source (and in the base, if the method works on differences to it)."""

    def __init__(self, place: Place, count: int, has_base: bool, survey: Any = None) -> None:
        self.place = place
        self.count = count  # number of sources
        self.has_base = has_base
        self.survey = survey  # what the method's survey of the whole model found, if it has one
        self.notes: dict[str, float] = {}  # what the method found worth reporting of this tensor

    def chunks(self) -> Iterator[Chunk]:
        """The tensor as consecutive stretches of whole `SUM_BLOCK`s."""
        raise NotImplementedError

    def row_chunks(self) -> Iterator[Chunk]:
        """The tensor as consecutive stretches of whole rows (`place.rows`); a view with small chunks redefines it."""
        return self.chunks()

    def only(self, sources: Sequence[int]) -> TensorView:
        """The same tensor in some of the sources."""
        raise NotImplementedError

    def gram(self) -> np.ndarray:
        """Gram matrix, float64[m, m], of (r, X − r, …): r is the base if there is one, else the first source.

        Differences are taken in float64, where they are exact for half-precision inputs: angles between close models
        do not drown in rounding. Without a base the first row and column belong to A and the others to Xᵢ − A.
        """
        size = self.count + 1 if self.has_base else self.count
        total = np.zeros((size, size))
        for chunk in self.chunks():
            for begin in range(0, chunk.size, SUM_BLOCK):
                total += _block_gram(chunk, slice(begin, begin + SUM_BLOCK))
        return total

    def top(self, magnitude: Magnitude, k: int) -> Cut:
        """Exactly the k elements of the largest magnitude, by two histograms of the float32 patterns; no sorting."""
        if k <= 0:
            return NOTHING
        if k >= self.place.size:
            return EVERYTHING
        upper, above = last_bin(self.histogram(magnitude, None), k)
        lower, above_low = last_bin(self.histogram(magnitude, upper), k - above)
        threshold = (upper << LOW_BITS) | lower
        return Cut(threshold, self.position_of_tie(magnitude, threshold, k - above - above_low))

    def histogram(self, magnitude: Magnitude, upper: int | None) -> np.ndarray:
        """How many float32 patterns have each value of their 16 high bits, or, of those whose high bits are `upper`,
        each value of their 15 low bits; int64[65536] or int64[32768]."""
        total = np.zeros(1 << (16 if upper is None else LOW_BITS), np.int64)
        for chunk in self.chunks():
            bits = bits_of(magnitude(chunk))
            if upper is None:
                total += counts(bits >> LOW_BITS, len(total))
            else:
                total += counts(bits[(bits >> LOW_BITS) == upper] & ((1 << LOW_BITS) - 1), len(total))
        return total

    def count_equal(self, magnitude: Magnitude, threshold: int) -> int:
        """How many elements have exactly this pattern."""
        return sum(int((bits_of(magnitude(chunk)) == threshold).sum()) for chunk in self.chunks())

    def position_of_tie(self, magnitude: Magnitude, threshold: int, ties: int) -> int:
        """Index of the element that is number `ties` (from 1) among those whose pattern is the threshold."""
        for chunk in self.chunks():
            found = positions(bits_of(magnitude(chunk)) == threshold)
            if len(found) >= ties:
                return chunk.start + int(found[ties - 1])
            ties -= len(found)
        raise AssertionError("the histogram promised more ties than there are")

    def sums(self, terms: Callable[[Chunk], list[Array]]) -> list[float]:
        """Σ over the tensor of each array that `terms` makes of a stretch, accumulated in float64."""
        totals: list[float] = []
        for chunk in self.chunks():
            found = [float(to_double(array).sum()) for array in terms(chunk)]
            totals = [a + b for a, b in zip(totals, found, strict=True)] if totals else found
        return totals


class ModelView:
    """All tensors of a model, for a method's survey: `views` gives a fresh view of each, in the order of the file."""

    def __init__(self, views: Callable[[], Iterator[TensorView]]) -> None:
        self.views = views

    def top(self, magnitude: Magnitude, share: float) -> dict[str, Cut]:
        """The round(share · n) largest magnitudes of the whole model, n its number of elements, as a cut per tensor.

        Of equal magnitudes the first by tensor and position are taken.
        """
        sizes = {view.place.name: view.place.size for view in self.views()}
        k = round(share * sum(sizes.values()))
        if k <= 0 or k >= sum(sizes.values()):
            return dict.fromkeys(sizes, NOTHING if k <= 0 else EVERYTHING)
        upper, above = last_bin(self._histogram(magnitude, None), k)
        lower, above_low = last_bin(self._histogram(magnitude, upper), k - above)
        threshold, ties = (upper << LOW_BITS) | lower, k - above - above_low
        cuts: dict[str, Cut] = {}
        for view in self.views():
            here = view.count_equal(magnitude, threshold) if ties else 0
            last = view.position_of_tie(magnitude, threshold, ties) if here > ties > 0 else view.place.size - 1
            cuts[view.place.name] = Cut(threshold, last if ties else -1)
            ties -= min(here, ties)
        return cuts

    def _histogram(self, magnitude: Magnitude, upper: int | None) -> np.ndarray:
        total = np.zeros(1 << (16 if upper is None else LOW_BITS), np.int64)
        for view in self.views():
            total += view.histogram(magnitude, upper)
        return total


def last_bin(histogram: np.ndarray, k: int) -> tuple[int, int]:
    """The bin that holds the k-th largest (k ≥ 1), and how many lie in the bins above it."""
    from_top = np.cumsum(histogram[::-1])
    index = int(np.searchsorted(from_top, k))
    above = int(from_top[index - 1]) if index else 0
    return len(histogram) - 1 - index, above


def _block_gram(chunk: Chunk, block: slice) -> np.ndarray:
    reference = to_double((chunk.sources[0] if chunk.base is None else chunk.base)[block])
    others = chunk.sources[1:] if chunk.base is None else chunk.sources
    vectors = [reference, *(to_double(other[block]) - reference for other in others)]
    gram = np.zeros((len(vectors), len(vectors)))
    for i, first in enumerate(vectors):
        for j in range(i + 1):
            gram[i, j] = gram[j, i] = lane_sum(first * vectors[j])
    return gram


def lane_sum(products: Array) -> float:
    """Σ of a float64 array: `LANES` interleaved running sums, then those in order (torch: its own summation)."""
    if is_torch(products):
        return float(products.sum())
    padded = np.zeros(-(-len(products) // LANES) * LANES)
    padded[: len(products)] = products
    lanes = np.add.reduce(padded.reshape(-1, LANES), axis=0)
    total = 0.0
    for lane in lanes.tolist():
        total += lane
    return total


class WholeTensor(TensorView):
    """A tensor that lies in memory: float32 arrays of `place.shape`, numpy or torch."""

    def __init__(self, place: Place, sources: tuple[Array, ...], base: Array | None, survey: Any = None) -> None:
        super().__init__(place, len(sources), base is not None, survey)
        self._whole = Chunk(
            tuple(source.reshape(-1) for source in sources), None if base is None else base.reshape(-1)
        )

    def only(self, sources: Sequence[int]) -> WholeTensor:
        arrays = tuple(self._whole.sources[index] for index in sources)
        return WholeTensor(self.place, arrays, self._whole.base, self.survey)

    def whole(self) -> Chunk:
        """The tensor as one stretch."""
        return self._whole

    def chunks(self) -> Iterator[Chunk]:
        yield self._whole
