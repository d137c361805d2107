"""NuSLERP: SLERP with a weight per model, per tensor or per output neuron (as in mergekit's method of this name)."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np

from merger.arrays import Array, like, to_double
from merger.bilingual import Text
from merger.methods.common import WEIGHTS, normalised, reversed_weights
from merger.methods.slerp import angle, coefficients
from merger.operators import Chunk, Linear, Operator
from merger.params import Choice
from merger.registry import merge_method
from merger.views import TensorView

SCOPE = Choice(
    {
        "tensor": Text("весь тензор", "whole tensor"),
        "row": Text("каждый нейрон отдельно", "each neuron by itself"),
    },
    Text("По чему мерить угол", "What the angle is taken over"),
    Text(
        "Угол между моделями берётся по всему тензору или отдельно по каждой его строке.",
        "The angle between the models is taken over the whole tensor, or for each of its rows.",
    ),
)


@dataclass(frozen=True, eq=False)
class RowMix:
    """cᵣ·A + dᵣ·B with coefficients of each row r, float32[rows, 2]; stretches are whole rows of length `row`."""

    coefficients: np.ndarray
    row: int

    def __call__(self, chunk: Chunk) -> Array:
        first = chunk.start // self.row
        here = like(self.coefficients[first : first + chunk.size // self.row], chunk.sources[0])
        a, b = (source.reshape(-1, self.row) for source in chunk.sources)
        return (a * here[:, :1] + b * here[:, 1:]).reshape(-1)


def _row_grams(view: TensorView, row: int) -> np.ndarray:
    """float64[rows, 3]: A·A, A·(B − A) and (B − A)·(B − A) of every row."""
    found = []
    for chunk in view.row_chunks():
        a, b = (to_double(source).reshape(-1, row) for source in chunk.sources)
        step = b - a
        for products in zip(*((x * y).sum(1).tolist() for x, y in ((a, a), (a, step), (step, step))), strict=True):
            found.append(products)
    return np.array(found)


@merge_method(
    title=Text("По дуге с весами (NuSLERP)", "NuSLERP"),
    summary=Text(
        "SLERP, в котором доли задают весами, а угол можно мерить для каждого нейрона отдельно.",
        "SLERP with weights for shares; the angle may be taken for each neuron by itself.",
    ),
    sources="two",
    paper="mergekit (nuslerp)",
    endpoint={"weights": (1.0, 0.0)},
    mirror=reversed_weights,
)
def nuslerp(
    view: TensorView,
    *,
    weights: Annotated[tuple[float, ...] | None, WEIGHTS] = None,
    scope: Annotated[str, SCOPE] = "tensor",
) -> Operator:
    """SLERP at t = wB / (wA + wB), over the flattened tensor or over each row."""
    first, second = normalised(weights, view.count)
    if 0.0 in {first, second}:
        return Linear((first, second))
    if scope == "tensor" or view.place.rows == 1:
        return Linear(coefficients(angle(view.gram()), second))
    row = view.place.size // view.place.rows
    mixed = []
    for aa, ad, dd in _row_grams(view, row).tolist():
        mixed.append(coefficients(angle(np.array([[aa, ad], [ad, dd]])), second))
    return RowMix(np.array(mixed, np.float32), row)
