"""What is measured once per pair of models, so that a slider move measures nothing.

SLERP asks for the angle between two tensors: the Gram matrix of each tensor is kept. TIES asks for the k elements that
differ most: the magnitudes of each tensor are ranked once, and the cut is kept for every density in steps of 0.01 (any
other density is measured when it is first asked for, then kept).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch

from merger.arrays import Array, bits_of
from merger.layout import Place
from merger.operators import EVERYTHING, NOTHING, Chunk, Cut, Difference
from merger.views import Magnitude, TensorView, WholeTensor

GRID = 100  # densities i / 100 are ranked by `rank`
Sources = Callable[[], tuple[tuple[Array, ...], Array | None]]


class LiveView(TensorView):
    """One tensor of the live pair; remembers what was measured.

    `read()` gives float32 arrays of all sources and the base: numpy where the weights lie in host memory, so that the
    measurements have the same bits as those of a merge to disk; torch on a GPU.
    """

    def __init__(self, place: Place, count: int, has_base: bool, read: Sources, survey: Any = None) -> None:
        super().__init__(place, count, has_base, survey)
        self._read = read
        self._gram: dict[bool, np.ndarray[Any, Any]] = {}
        self._cuts: dict[tuple[Any, int], Cut] = {}

    def only(self, sources: Sequence[int]) -> TensorView:
        return self._plain().only(sources)

    def chunks(self) -> Iterator[Chunk]:
        yield from self._plain().chunks()

    def whole(self) -> Chunk:
        """The tensor as one stretch."""
        return self._plain().whole()

    def gram(self) -> np.ndarray[Any, Any]:
        if self.has_base not in self._gram:
            self._gram[self.has_base] = self._plain().gram()
        return self._gram[self.has_base]

    def top(self, magnitude: Magnitude, k: int) -> Cut:
        if k <= 0:
            return NOTHING
        if k >= self.place.size:
            return EVERYTHING
        if not isinstance(magnitude, Difference):  # another magnitude may hold state that cannot be told apart
            return self._plain().top(magnitude, k)
        if (magnitude, k) not in self._cuts:
            self._cuts[magnitude, k] = self._plain().top(magnitude, k)
        return self._cuts[magnitude, k]

    def keep_gram(self, gram: np.ndarray[Any, Any]) -> None:
        """Remember a Gram matrix that was measured elsewhere (all tensors of a GPU at once)."""
        self._gram[self.has_base] = gram

    def rank(self) -> None:
        """Rank the magnitudes of A − B and keep the cut of every density of the grid.

        A stable sort in descending order leaves equal magnitudes in the order of their positions, so the k-th element
        of it is the last one that belongs to the cut.
        """
        size = self.place.size
        counts = sorted({round(step / GRID * size) for step in range(GRID + 1)} - {0, size})
        magnitude = Difference(0, 1)
        wanted = [k for k in counts if k < size and (magnitude, k) not in self._cuts]
        if not wanted:
            return
        bits = torch.as_tensor(bits_of(magnitude(self.whole())))
        ordered, places = torch.sort(bits, descending=True, stable=True)
        at = torch.tensor(wanted, device=bits.device) - 1
        thresholds, ties = ordered[at].tolist(), places[at].tolist()
        for k, threshold, tie in zip(wanted, thresholds, ties, strict=True):
            self._cuts[magnitude, k] = Cut(threshold, tie)

    def _plain(self) -> WholeTensor:
        sources, base = self._read()
        return WholeTensor(self.place, sources, base if self.has_base else None, self.survey)
