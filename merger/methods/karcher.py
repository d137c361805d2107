"""Karcher mean: the point on the sphere with the least sum of squared angles to all models (Karcher 1977).

Every iterate is a combination of the models, so the whole iteration runs on their Gram matrix: the weights themselves
are read once.
"""

import math
from typing import Annotated

import numpy as np

from merger.bilingual import Text
from merger.methods.common import WEIGHTS, combination, normalised, reversed_weights
from merger.operators import Operator
from merger.registry import merge_method
from merger.views import TensorView

STEPS = 100
CLOSE = 1e-12


def full_gram(gram: np.ndarray) -> np.ndarray:
    """Inner products of the models themselves, from those of (X₀, X₁ − X₀, …)."""
    size = len(gram)
    change = np.eye(size)
    change[:, 0] = 1.0
    return np.asarray(change @ gram @ change.T)


def karcher_coefficients(inner: np.ndarray, weights: tuple[float, ...]) -> tuple[float, ...]:
    """Coefficients of the models: the mean direction, scaled to the weighted mean of their lengths.

    `inner` are the models' inner products, float64[n, n]; models of length zero take no part.
    """
    norms = np.sqrt(np.maximum(np.diag(inner), 0.0))
    shares = np.where(norms > 0, np.array(weights), 0.0)
    if shares.sum() == 0:
        return weights
    shares = shares / shares.sum()
    lengths = np.where(norms > 0, norms, 1.0)
    cosines = inner / np.outer(lengths, lengths)
    mean = shares / math.sqrt(max(float(shares @ cosines @ shares), CLOSE))
    for _ in range(STEPS):
        toward = np.clip(cosines @ mean, -1.0, 1.0)
        angles = np.arccos(toward)
        if math.pi - angles.max() < 1e-7:
            return weights  # opposite models single out no mean direction
        # The logarithm at the mean: θ / sin θ tends to 1 where a model lies in the mean's direction.
        pull = shares * np.where(angles > 1e-6, angles / np.maximum(np.sin(angles), 1e-300), 1.0)
        tangent = pull - float(pull @ toward) * mean
        length = math.sqrt(max(float(tangent @ cosines @ tangent), 0.0))
        if length < CLOSE:
            break
        mean = math.cos(length) * mean + math.sin(length) / length * tangent
        mean = mean / math.sqrt(float(mean @ cosines @ mean))
        if length < 1e-9:
            break
    return tuple((mean * float(shares @ norms) / lengths).tolist())


@merge_method(
    title=Text("Среднее на сфере (Karcher)", "Karcher mean"),
    summary=Text(
        "Середина между двумя и более моделями по дугам — SLERP для любого числа моделей.",
        "The midpoint of two or more models along arcs: SLERP for any number of models.",
    ),
    paper="Karcher 1977",
    endpoint={"weights": (1.0, 0.0)},
    mirror=reversed_weights,
)
def karcher(view: TensorView, *, weights: Annotated[tuple[float, ...] | None, WEIGHTS] = None) -> Operator:
    """The weighted Karcher mean of the flattened tensors' directions, at the weighted mean of their lengths."""
    shares = normalised(weights, view.count)
    return combination(view, shares, lambda gram, own: karcher_coefficients(full_gram(gram), own))
