"""Geometric median: the point with the least sum of distances to the models (Weiszfeld 1937; Vardi and Zhang 2000).

Unlike the mean it hardly moves for one outlier. All iterates are combinations of the models, so distances come from the
Gram matrix of their differences and the weights are read once.
"""

import math
from typing import Annotated

import numpy as np

from merger.bilingual import Text
from merger.methods.common import WEIGHTS, combination, normalised, reversed_weights
from merger.operators import Operator
from merger.registry import merge_method
from merger.views import TensorView

STEPS = 1000
CLOSE = 1e-12


def median_coefficients(apart: np.ndarray, weights: tuple[float, ...]) -> tuple[float, ...]:
    """Coefficients (sum 1) of the weighted geometric median.

    `apart` is float64[n, n], the Gram matrix of (0, X₁ − X₀, …): distances do not depend on the origin.
    """
    shares = np.array(weights)

    def distances(point: np.ndarray) -> np.ndarray:
        offsets = np.eye(len(shares)) - point
        squares: np.ndarray = np.einsum("ij,jk,ik->i", offsets, apart, offsets)
        return np.asarray(np.sqrt(np.maximum(squares, 0.0)))

    scale = math.sqrt(max(float(apart.diagonal().max()), 0.0))
    if scale == 0:
        return weights
    for index, own in enumerate(shares):
        # A model is the median itself if the others' pull on it does not exceed its weight.
        away = distances(np.eye(len(shares))[index])
        others = away > CLOSE * scale
        pull = np.where(others, shares / np.where(others, away, 1.0), 0.0)
        force = pull - pull.sum() * np.eye(len(shares))[index]
        if math.sqrt(max(float(force @ apart @ force), 0.0)) < own - 1e-12:
            return tuple(np.eye(len(shares))[index].tolist())
    point = shares
    for _ in range(STEPS):
        pull = shares / np.maximum(distances(point), CLOSE * scale)
        moved = pull / pull.sum()
        step = float(np.abs(moved - point).max())
        point = moved
        if step < CLOSE:
            break
    return tuple(point.tolist())


@merge_method(
    title=Text("Геометрическая медиана", "Geometric median"),
    summary=Text(
        "Точка, сумма расстояний от которой до моделей наименьшая: неудачная модель почти не портит результат.",
        "The point with the least sum of distances to the models: one bad model hardly spoils the result.",
    ),
    paper="Weiszfeld 1937; Vardi & Zhang 2000",
    endpoint={"weights": (1.0, 0.0)},
    mirror=reversed_weights,
)
def geometric_median(view: TensorView, *, weights: Annotated[tuple[float, ...] | None, WEIGHTS] = None) -> Operator:
    """argmin over W of Σ wᵢ ‖Xᵢ − W‖, per tensor. For two models of equal weight it is their mean."""

    def coefficients(gram: np.ndarray, own: tuple[float, ...]) -> tuple[float, ...]:
        apart = gram.copy()
        apart[0, :] = apart[:, 0] = 0.0
        return median_coefficients(apart, own)

    return combination(view, normalised(weights, view.count), coefficients)
