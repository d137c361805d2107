"""Where two models differ: per tensor, per block and part, per component.

Distances are ‖A − B‖ / ‖A‖; angles come from the same Gram matrix that SLERP uses. With the base model: how far each
went from it, the cosine of the two ways, and the share of elements on which they pull in opposite directions.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import local
from typing import Any

import numpy as np

from merger.arithmetic import Arithmetic, choose_arithmetic
from merger.arrays import Array, to_double
from merger.bilingual import Text
from merger.checkpoint import Checkpoint
from merger.compatibility import compare
from merger.engine import BASE, REPORTED_TENSORS, RESIDENT_BYTES
from merger.errors import Cancelled, NonfiniteWeights
from merger.layout import COMPONENTS, Component, Place, place_of
from merger.methods.slerp import angle
from merger.operators import Chunk
from merger.stream import Buffers, SourceFiles, StreamedTensor, StreamView

# What a block consists of, in the order of a table's columns.
PARTS: dict[str, Text] = {
    "self_attention": Text("внимание", "self-attention"),
    "cross_attention": Text("к звуку", "cross-attention"),
    "mlp": Text("полносвязный слой", "feed-forward"),
    "norms": Text("нормировка", "layer norms"),
}
WORKERS = 8


@dataclass(frozen=True)
class Difference:
    """Sums over elements from which every figure follows; sums of several tensors add up.

    `aa` = Σ A², `ab` = Σ A·(B − A), `dd` = Σ (B − A)²; with a base `ss`, `pp`, `qq`, `pq` = Σ S², δA², δB², δA·δB and
    `conflicts` = number of elements with δA·δB < 0.
    """

    elements: int
    aa: float
    ab: float
    dd: float
    ss: float = 0.0
    pp: float = 0.0
    qq: float = 0.0
    pq: float = 0.0
    conflicts: float = 0.0

    def __add__(self, other: Difference) -> Difference:
        return Difference(*(mine + its for mine, its in zip(self._values(), other._values(), strict=True)))

    def _values(self) -> tuple[Any, ...]:
        return (self.elements, self.aa, self.ab, self.dd, self.ss, self.pp, self.qq, self.pq, self.conflicts)

    @property
    def finite(self) -> bool:
        """Whether every sum is a finite number, as it is where every weight is: sums are taken in float64."""
        return all(map(math.isfinite, self._values()))

    def to_json(self, with_base: bool) -> dict[str, Any]:
        """The figures; None where one is undefined (a zero tensor has no direction)."""
        theta = angle(np.array([[self.aa, self.ab], [self.ab, self.dd]]))
        found: dict[str, Any] = {
            "elements": self.elements,
            "distance": _ratio(math.sqrt(self.dd), math.sqrt(self.aa)),
            "cosine": None if theta is None else math.cos(theta),
            "angle": theta,
        }
        if with_base:
            found |= {
                "distance_a": _ratio(math.sqrt(self.pp), math.sqrt(self.ss)),
                "distance_b": _ratio(math.sqrt(self.qq), math.sqrt(self.ss)),
                "delta_cosine": _ratio(self.pq, math.sqrt(self.pp) * math.sqrt(self.qq)),
                "sign_conflicts": self.conflicts / self.elements if self.elements else None,
            }
        return found


def _ratio(numerator: float, denominator: float) -> float | None:
    return numerator / denominator if denominator > 0 else None


@dataclass(frozen=True)
class Explanation:
    """Every tensor's difference, with its place."""

    name_a: str
    name_b: str
    base_name: str | None
    tensors: tuple[tuple[Place, Difference], ...]

    def total(self, chosen: Callable[[Place], bool] = lambda _: True) -> Difference | None:
        """The difference over all tensors that are chosen; None if there are none."""
        found = None
        for place, difference in self.tensors:
            if chosen(place):
                found = difference if found is None else found + difference
        return found

    def heat_map(self, stack: str) -> dict[str, Any]:
        """Blocks × parts of "encoder" or "decoder": `cells`, lists of lists of figures, None where a block lacks a
        part; `rows`, the figures of every block as a whole."""
        blocks = sorted({p.block for p, _ in self.tensors if p.stack == stack and p.block is not None})
        parts = [part for part in PARTS if any(p.stack == stack and part_of(p) == part for p, _ in self.tensors)]
        sums: dict[tuple[int, str | None], Difference] = {}  # the part None is the whole block
        for place, difference in self.tensors:
            if place.stack == stack and place.block is not None:
                for key in ((place.block, part_of(place)), (place.block, None)):
                    sums[key] = sums[key] + difference if key in sums else difference
        return {
            "blocks": blocks,
            "parts": parts,
            "cells": [[self._figures(sums.get((block, part))) for part in parts] for block in blocks],
            "rows": [self._figures(sums[block, None]) for block in blocks],
        }

    def _figures(self, difference: Difference | None) -> dict[str, Any] | None:
        return None if difference is None else difference.to_json(self.base_name is not None)

    def to_json(self, lang: str = "en") -> dict[str, Any]:
        """Everything: the whole, components, heat maps of both stacks, and every tensor in the order of the file."""
        components: Mapping[Component, Text] = COMPONENTS
        return {
            "a": self.name_a,
            "b": self.name_b,
            "base": self.base_name,
            "whole": self._figures(self.total()),
            "components": {
                name: {"label": label.get(lang), **(self._figures(found) or {})}
                for name, label in components.items()
                if (found := self.total(lambda place, name=name: place.component == name)) is not None  # type: ignore[misc]
            },
            "parts": {part: label.get(lang) for part, label in PARTS.items()},
            "heat_maps": {stack: self.heat_map(stack) for stack in ("encoder", "decoder")},
            "tensors": [
                {
                    "name": place.name,
                    "shape": list(place.shape),
                    "component": place.component,
                    "block": place.block,
                    **(self._figures(difference) or {}),
                }
                for place, difference in self.tensors
            ],
        }


def part_of(place: Place) -> str | None:
    """Which column of a heat map a tensor belongs to; None outside the blocks."""
    if place.block is None:
        return None
    if "layer_norm" in place.name:
        return "norms"
    if ".encoder_attn." in place.name:
        return "cross_attention"
    return "self_attention" if ".self_attn." in place.name else "mlp"


def explain(
    a: Checkpoint,
    b: Checkpoint,
    base: Checkpoint | None = None,
    *,
    on_progress: Callable[[int, int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Explanation:
    """Measure how two models (and their base) differ; reads every weight once, writes nothing.

    `on_progress(tensors done, tensors in all)`. Raises IncompatibleModels, NonfiniteWeights, Cancelled, IncompleteFile.
    """
    compare(a, b, base=base).raise_if_incompatible()
    sources = {"a": a, "b": b, **({BASE: base} if base is not None else {})}
    places = [place_of(entry.name, entry.shape, a.config) for entry in a.weights().values()]
    arithmetic = choose_arithmetic("cpu")
    workers = min(os.cpu_count() or 1, WORKERS)
    mine = local()

    def check() -> None:
        if cancelled is not None and cancelled():
            raise Cancelled()

    def measure(place: Place) -> Difference:
        if not hasattr(mine, "buffers"):
            mine.buffers = Buffers(RESIDENT_BYTES // (workers * len(sources)))
        tensor = StreamedTensor(files, place, mine.buffers, arithmetic.step, check)
        with np.errstate(all="ignore"):
            difference = _measured(tensor, arithmetic, base is not None)
        if not difference.finite:
            for key in _spoilt(tensor, arithmetic, list(sources)):
                spoilt.setdefault(key, []).append(place.name)
        return difference

    found = []
    spoilt: dict[str, list[str]] = {}  # tensors with NaN or infinity by source
    with SourceFiles(sources) as files, ThreadPoolExecutor(workers) as pool:
        for place, difference in zip(places, _in_order(pool, measure, places), strict=True):
            found.append((place, difference))
            if on_progress is not None:
                on_progress(len(found), len(places))
    for key, model in sources.items():
        if key in spoilt:
            raise NonfiniteWeights(file=model.name, tensors=sorted(spoilt[key])[:REPORTED_TENSORS])
    return Explanation(a.name, b.name, base.name if base is not None else None, tuple(found))


def _in_order(
    pool: ThreadPoolExecutor, measure: Callable[[Place], Difference], places: Iterable[Place]
) -> Iterable[Difference]:
    futures = [pool.submit(measure, place) for place in places]
    try:
        for future in futures:
            yield future.result()
    finally:
        for future in futures:
            future.cancel()


def _measured(tensor: StreamedTensor, arithmetic: Arithmetic, with_base: bool) -> Difference:
    pair = StreamView(tensor, (0, 1), None, arithmetic, None).gram()
    plain = Difference(tensor.place.size, float(pair[0, 0]), float(pair[0, 1]), float(pair[1, 1]))
    if not with_base:
        return plain
    view = StreamView(tensor, (0, 1), 2, arithmetic, None)
    gram = view.gram()
    [conflicts] = view.sums(_conflicts)
    return plain + Difference(
        0, 0.0, 0.0, 0.0, float(gram[0, 0]), float(gram[1, 1]), float(gram[2, 2]), float(gram[1, 2]), conflicts
    )


def _spoilt(tensor: StreamedTensor, arithmetic: Arithmetic, keys: Sequence[str]) -> list[str]:
    """The sources whose part of a tensor holds NaN or infinity."""
    found = dict.fromkeys(keys, False)
    for start, count in tensor.stretches():
        for index, (key, dtype) in enumerate(zip(keys, tensor.dtypes, strict=True)):
            found[key] |= not arithmetic.finite(tensor.raw(index, start, count), dtype)
    return [key for key in keys if found[key]]


def _conflicts(chunk: Chunk) -> list[Array]:
    """1 where the two deltas have opposite signs."""
    first, second = (source - chunk.base for source in chunk.sources)
    return [to_double(((first > 0) & (second < 0)) | ((first < 0) & (second > 0)))]
