"""The guide's methods as tables: what every tensor of a stack becomes, in two small arrays.

A slider move on a large model has no time for a thousand Python calls. The tables hold the very numbers that the
methods' own functions give (`merger.methods`), tensor by tensor; a table is also a mapping from names to operators.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from merger.arrays import single
from merger.live.prepared import LiveView
from merger.methods.slerp import angle, coefficients
from merger.operators import EVERYTHING, Cut, Difference, Linear, Operator, TopBlend, average
from merger.recipe import MergeRecipe

Pair = tuple[float, float]
KEPT = 128  # positions of a slider
GRID = 100  # arcs are prepared for every i / 100
COPY_A: Pair = (1.0, 0.0)


class Table(Mapping[str, Operator]):
    """Operators of neighbouring tensors. coefficients: float32[n, 4], of A and B inside the cut and outside it; cuts:
    int32[n, 2], threshold and last tie (`merger.operators.Cut`). A linear mixture has everything inside."""

    def __init__(
        self, names: tuple[str, ...], coefficients: np.ndarray[Any, Any], cuts: np.ndarray[Any, Any]
    ) -> None:
        self.names, self.coefficients, self.cuts = names, coefficients, cuts

    @cached_property
    def _rows(self) -> dict[str, int]:
        return {name: row for row, name in enumerate(self.names)}

    @property
    def linear(self) -> bool:
        """Whether everything lies inside the cuts."""
        return bool((self.cuts == (EVERYTHING.threshold, EVERYTHING.last_tie)).all())

    @classmethod
    def of(cls, operators: Mapping[str, Operator]) -> Table | None:
        """The table of these operators, or None if one of them is neither a mixture of two nor a top blend of two."""
        rows, cuts = [], []
        for operator in operators.values():
            inside, outside, cut = operator, operator, EVERYTHING
            if isinstance(operator, TopBlend):
                inside, outside, cut = operator.inside, operator.outside, operator.cut
            if not all(isinstance(each, Linear) and len(each.coefficients) == 2 for each in (inside, outside)):
                return None
            rows.append([*_rounded(inside.coefficients), *_rounded(outside.coefficients)])  # type: ignore[attr-defined]
            cuts.append([cut.threshold, cut.last_tie])
        return cls(tuple(operators), np.array(rows, np.float32), np.array(cuts, np.int32))

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __getitem__(self, name: str) -> Operator:
        row = self._rows[name]
        a, b, outer_a, outer_b = self.coefficients[row].tolist()
        cut = Cut(*self.cuts[row].tolist())
        return Linear((a, b)) if cut == EVERYTHING else TopBlend(cut, Linear((a, b)), Linear((outer_a, outer_b)))

    def equals(self, other: Mapping[str, Operator] | None) -> bool:
        """Whether another table says the same."""
        return (
            isinstance(other, Table)
            and self.names == other.names
            and np.array_equal(self.coefficients, other.coefficients)
            and np.array_equal(self.cuts, other.cuts)
        )


class GuideTables:
    """Makes the tables of one stack; `common` are the tensors that are equal in both models and therefore copied."""

    def __init__(self, views: Sequence[LiveView], common: frozenset[str], stack: str) -> None:
        self._views = list(views)
        self._names = tuple(view.place.name for view in views)
        self._common = np.array([name in common for name in self._names], dtype=bool)
        self._weights = "encoder_weights" if stack == "encoder" else "decoder_weights"
        self._sizes = np.array([view.place.size for view in self._views])
        whole = np.array([EVERYTHING.threshold, EVERYTHING.last_tie], np.int32)
        self._everything = np.tile(whole, (len(self._names), 1))
        self._angles: list[float | None] | None = None
        self._arcs: dict[float, np.ndarray[Any, Any]] = {}
        self._cuts: dict[float, tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]] = {}

    def make(self, recipe: MergeRecipe) -> Table | None:
        """The table of a recipe; None for other methods and for recipes with settings per part."""
        if recipe.parts:
            return None
        if recipe.method == "direct":
            alpha = recipe.parameters["direct_alpha"]
            return self._linear(np.array([alpha, 1 - alpha]))
        if recipe.method == "slerp":
            return self._linear(self._arcs_at(recipe.parameters["slerp_t"]))
        if recipe.method == "ties":
            return self._blend(recipe.parameters["ties_density"], recipe.parameters[self._weights])
        return None

    def prepare_arcs(self) -> None:
        """Have the coefficients of SLERP at hand for every position of a slider."""
        for step in range(GRID + 1):
            self._arcs_at(step / GRID)

    def _arcs_at(self, t: float) -> np.ndarray[Any, Any]:
        """float64[n, 2] coefficients of A and B at share t."""
        if t in {0.0, 1.0}:
            return np.array([1 - t, t])
        if self._angles is None:
            pairs = zip(self._views, self._common, strict=True)
            self._angles = [None if same else angle(view.gram()) for view, same in pairs]
        if t not in self._arcs:
            _make_room(self._arcs)
            self._arcs[t] = np.array([coefficients(theta, t) for theta in self._angles])
        return self._arcs[t]

    def _linear(self, pairs: np.ndarray[Any, Any]) -> Table:
        """The table of a mixture with these coefficients, float64[2] for all tensors or [n, 2]."""
        rows = np.empty((len(self._names), 4), np.float32)
        rows[:, :2] = rows[:, 2:] = pairs
        rows[self._common] = (*COPY_A, *COPY_A)
        return Table(self._names, rows, self._everything)

    def _blend(self, density: float, weights: Pair) -> Table:
        cuts, counts = self._cuts_at(density)
        inside, outside = Linear(weights), average()
        rows = np.tile(
            np.array([*_rounded(inside.coefficients), *_rounded(outside.coefficients)], np.float32),
            (len(self._names), 1),
        )
        plain = np.full(len(self._names), inside == outside) | (counts == 0)
        rows[plain] = (*_rounded(outside.coefficients), *_rounded(outside.coefficients))
        whole = ~plain & (counts == self._sizes)
        rows[whole] = (*_rounded(inside.coefficients), *_rounded(inside.coefficients))
        rows[self._common] = (*COPY_A, *COPY_A)
        return Table(self._names, rows, np.where((plain | whole | self._common)[:, None], self._everything, cuts))

    def _cuts_at(self, density: float) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """Cut and number of blended elements of every tensor at one density."""
        if density not in self._cuts:
            counts = [round(density * view.place.size) for view in self._views]
            found = [
                EVERYTHING if same else view.top(Difference(0, 1), count)
                for view, count, same in zip(self._views, counts, self._common, strict=True)
            ]
            _make_room(self._cuts)
            cuts = np.array([[cut.threshold, cut.last_tie] for cut in found], np.int32)
            self._cuts[density] = cuts, np.array(counts)
        return self._cuts[density]


def _make_room(kept: dict[float, Any]) -> None:
    if len(kept) >= KEPT:
        kept.pop(next(iter(kept)))


def _rounded(pair: Sequence[float]) -> list[float]:
    return [single(value) for value in pair]


def is_copy(plan: Mapping[str, Operator], common: frozenset[str]) -> int | None:
    """The source that every tensor outside `common` copies bit for bit, or None."""
    if isinstance(plan, Table):
        first = next((row for row, name in enumerate(plan.names) if name not in common), 0)
        if plan.coefficients[first].tolist() not in ([1.0, 0.0, 1.0, 0.0], [0.0, 1.0, 0.0, 1.0]):
            return None
        own = plan.coefficients[[name not in common for name in plan.names]]
        for source, row in enumerate(((1.0, 0.0), (0.0, 1.0))):
            if (own == np.array([*row, *row], np.float32)).all():
                return source
        return None
    sources = {
        operator.copied_source() if isinstance(operator, Linear) else None
        for name, operator in plan.items()
        if name not in common
    }
    return sources.pop() if len(sources) == 1 else None


