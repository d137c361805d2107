"""Task arithmetic (Ilharco et al. 2023, arXiv:2212.04089): add what the models learnt to the base."""

from typing import Annotated

from merger.bilingual import Text
from merger.deltas import DeltaMerge, keep_everything
from merger.methods.common import SCALE, WEIGHTS, reversed_weights
from merger.operators import Operator, equal_weights
from merger.registry import merge_method
from merger.views import TensorView


@merge_method(
    title=Text("Сложение обученного (task arithmetic)", "Task arithmetic"),
    summary=Text(
        "К базовой модели добавляется взвешенная сумма того, чему научились дообученные.",
        "Adds to the base model the weighted sum of what the fine-tunes learnt.",
    ),
    space="delta",
    paper="arXiv:2212.04089",
    mirror=reversed_weights,
)
def task_arithmetic(
    view: TensorView,
    *,
    weights: Annotated[tuple[float, ...] | None, WEIGHTS] = None,
    scale: Annotated[float, SCALE] = 1.0,
) -> Operator:
    """W = S + λ Σ wᵢ (Xᵢ − S); weights are 1/n each unless given."""
    return DeltaMerge(equal_weights(weights, view.count), scale, keep_everything(view.count))
