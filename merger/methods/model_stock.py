"""Model Stock (Jang et al. 2024, arXiv:2403.19522): how far to go from the base to the mean, read off the angle."""

import math
from typing import Annotated

import numpy as np

from merger.bilingual import Text
from merger.deltas import DeltaMerge, keep_everything
from merger.methods.common import SCALE
from merger.operators import Operator
from merger.registry import merge_method
from merger.views import TensorView


def stock_ratio(gram: np.ndarray) -> float:
    """t = n·cos θ / (1 + (n − 1)·cos θ), cos θ the mean cosine between the deltas; 0 where they are at odds or zero.

    `gram` is the Gram matrix of (S, δ₁, …, δₙ).
    """
    inner = gram[1:, 1:]
    count = len(inner)
    norms = np.sqrt(np.maximum(np.diag(inner), 0.0))
    if norms.min() == 0:
        return 0.0
    cosines = inner / np.outer(norms, norms)
    mean = float(cosines[np.triu_indices(count, 1)].mean())
    return count * mean / (1 + (count - 1) * mean) if mean > 0 and not math.isnan(mean) else 0.0


@merge_method(
    title=Text("Model Stock", "Model Stock"),
    summary=Text(
        "Сам решает, насколько отойти от базовой модели к среднему: чем согласнее модели, тем дальше.",
        "Decides by itself how far to go from the base to the mean: the more the models agree, the farther.",
    ),
    space="delta",
    paper="arXiv:2403.19522",
    mirror=dict,
)
def model_stock(view: TensorView, *, scale: Annotated[float, SCALE] = 1.0) -> Operator:
    """W = S + λ·t·(mean of Xᵢ − S) per tensor; the paper has λ = 1."""
    weights = (1 / view.count,) * view.count
    return DeltaMerge(weights, scale * stock_ratio(view.gram()), keep_everything(view.count))
