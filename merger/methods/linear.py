"""Linear: the weighted mean of any number of models (model soups, Wortsman et al. 2022, arXiv:2203.05482)."""

from typing import Annotated

from merger.bilingual import Text
from merger.methods.common import WEIGHTS, normalised, reversed_weights
from merger.operators import Linear, Operator
from merger.registry import merge_method
from merger.views import TensorView


@merge_method(
    title=Text("Взвешенное среднее (linear)", "Linear"),
    summary=Text(
        "Взвешенное среднее двух и более моделей. Для двух — то же, что Direct.",
        "The weighted mean of two or more models. For two it is Direct.",
    ),
    paper="arXiv:2203.05482",
    endpoint={"weights": (1.0, 0.0)},
    mirror=reversed_weights,
)
def linear(view: TensorView, *, weights: Annotated[tuple[float, ...] | None, WEIGHTS] = None) -> Operator:
    """W = Σ wᵢ Xᵢ / Σ wᵢ."""
    return Linear(normalised(weights, view.count))
