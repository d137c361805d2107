"""The views of all tensors of a pair, and measuring them together."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch

from merger.arrays import Array
from merger.errors import Cancelled
from merger.live.flat import FlatLayout, Slot
from merger.live.prepared import LiveView
from merger.registry import MethodSpec


class Measurements:
    """One `LiveView` per tensor; a method that works on differences to the base has views of its own.

    `sources` are flat buffers of one layout on one device (any dtype), `base` likewise or None.
    """

    def __init__(self, layout: FlatLayout, sources: Sequence[torch.Tensor], base: torch.Tensor | None) -> None:
        self.layout, self.sources, self.base = layout, tuple(sources), base
        self._views: dict[bool, dict[str, LiveView]] = {}
        self._equal: dict[bool, frozenset[str]] = {}

    def views(self, spec: MethodSpec, survey: Any = None) -> dict[str, LiveView]:
        """The views that this method sees, by tensor name."""
        if spec.needs_base not in self._views:
            self._views[spec.needs_base] = {
                name: LiveView(slot.place, len(self.sources), spec.needs_base, self._reader(slot))
                for name, slot in self.layout.slots.items()
            }
        views = self._views[spec.needs_base]
        for view in views.values():
            view.survey = survey
        return views

    def equal(self, with_base: bool) -> frozenset[str]:
        """Names of the tensors whose bits are the same in all sources (and in the base): they are copied, not mixed."""
        if with_base not in self._equal:
            vectors = [*self.sources, *([self.base] if with_base and self.base is not None else [])]
            same = torch.stack([self._same_bits(vectors, slot) for slot in self.layout.slots.values()]).tolist()
            self._equal[with_base] = frozenset(itertools.compress(self.layout.slots, same))
        return self._equal[with_base]

    def _same_bits(self, vectors: Sequence[torch.Tensor], slot: Slot) -> torch.Tensor:
        stretches = [vector[slot.start : slot.stop] for vector in vectors]
        bits = {2: torch.int16, 4: torch.int32}[stretches[0].element_size()]
        first = stretches[0].view(bits)
        others = [other for other in stretches[1:] if other.dtype == stretches[0].dtype]
        if len(others) < len(stretches) - 1:  # host buffers of different dtypes: never the same bytes
            return torch.zeros((), dtype=torch.bool, device=first.device)
        return torch.stack([(other.view(bits) == first).all() for other in others]).all()

    def measure_grams(self, views: Iterable[LiveView], cancelled: Callable[[], bool] | None = None) -> None:
        """Measure the Gram matrices of all views; on a GPU without waiting for one before the next is started."""
        if self.sources[0].device.type == "cpu":
            for view in views:
                _poll(cancelled)
                view.gram()
            return
        pending = []
        for view in views:
            _poll(cancelled)
            pending.append((view, _gram_on_device(*self._read(self.layout.slots[view.place.name]), view.has_base)))
        for view, gram in zip(
            (view for view, _ in pending), torch.stack([gram for _, gram in pending]).cpu().numpy(), strict=True
        ):
            view.keep_gram(np.asarray(gram))

    def _reader(self, slot: Slot) -> Callable[[], tuple[tuple[Array, ...], Array | None]]:
        def read() -> tuple[tuple[Array, ...], Array | None]:
            sources, base = self._read(slot)
            if self.sources[0].device.type != "cpu":
                return sources, base
            return tuple(source.numpy() for source in sources), None if base is None else base.numpy()

        return read

    def _read(self, slot: Slot) -> tuple[tuple[torch.Tensor, ...], torch.Tensor | None]:
        stretch = slice(slot.start, slot.stop)
        base = None if self.base is None else self.base[stretch].float()
        return tuple(source[stretch].float() for source in self.sources), base


def _gram_on_device(
    sources: tuple[torch.Tensor, ...], base: torch.Tensor | None, has_base: bool
) -> torch.Tensor:
    """`TensorView.gram` as a float64 tensor on the device."""
    reference = sources[0] if not has_base or base is None else base
    others = sources[1:] if reference is sources[0] else sources
    start = reference.double()
    vectors = [start, *(other.double() - start for other in others)]
    return torch.stack([torch.stack([(one * other).sum() for other in vectors]) for one in vectors])


def _poll(cancelled: Callable[[], bool] | None) -> None:
    if cancelled is not None and cancelled():
        raise Cancelled
