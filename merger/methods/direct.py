"""Direct: the plain mixture of the weights, as the guide defines it."""

from typing import Annotated

from merger.bilingual import Text
from merger.operators import Linear, Operator
from merger.params import Slider
from merger.registry import merge_method
from merger.views import TensorView


@merge_method(
    title=Text("Прямое смешивание (direct)", "Direct"),
    summary=Text(
        "Каждый вес — смесь двух моделей в одной и той же доле. Просто и надёжно: с него удобно начать.",
        "Every weight is a mixture of both models in one proportion. Simple and robust: a good start.",
    ),
    sources="two",
    guide=True,
    endpoint={"direct_alpha": 1.0},
    mirror=lambda given: {"direct_alpha": 1 - given["direct_alpha"]},
)
def direct(
    view: TensorView,
    *,
    direct_alpha: Annotated[
        float,
        Slider(
            0.0,
            1.0,
            0.05,
            Text("Доля модели A", "Share of model A"),
            Text(
                "1 — только модель A, 0 — только модель B, 0,5 — поровну. Внимание: у SLERP направление обратное.",
                "1 is model A alone, 0 is model B alone, 0.5 is half and half. Mind: SLERP runs the other way.",
            ),
            ends=(Text("B", "B"), Text("A", "A")),
        ),
    ] = 0.5,
) -> Operator:
    """W = alpha·A + (1 − alpha)·B, float32, rounded after each operation."""
    return Linear((direct_alpha, 1 - direct_alpha))
