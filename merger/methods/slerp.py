"""SLERP: spherical linear interpolation, per tensor (Shoemake 1985, applied to flattened weights)."""

import math
from typing import Annotated

import numpy as np

from merger.bilingual import Text
from merger.operators import Linear, Operator
from merger.params import Slider
from merger.registry import merge_method
from merger.views import TensorView

# Closer than this to a half turn, A and B point in opposite directions within the rounding of float64 sums, and no
# great circle between them is singled out.
ANTIPARALLEL = 1e-7


def angle(gram: np.ndarray) -> float | None:
    """Angle between A and B in radians, from the Gram matrix of (A, B − A); None if either is zero.

    θ = 2·atan2(‖u − v‖, ‖u + v‖) with unit vectors u, v (Kahan): the arc cosine of a product near 1 would lose all
    small angles. ‖u − v‖² = (‖A − B‖² − (‖A‖ − ‖B‖)²) / (‖A‖·‖B‖), where nothing large cancels.
    """
    aa, ad, dd = float(gram[0, 0]), float(gram[0, 1]), float(gram[1, 1])
    bb = aa + 2 * ad + dd
    if aa <= 0 or bb <= 0:
        return None
    norm_a, norm_b = math.sqrt(aa), math.sqrt(bb)
    norm_gap = (2 * ad + dd) / (norm_a + norm_b)  # ‖B‖ − ‖A‖ without cancellation
    apart = max(dd - norm_gap * norm_gap, 0.0) / (norm_a * norm_b)
    return 2 * math.atan2(math.sqrt(apart), math.sqrt(max(4 - apart, 0.0)))


def is_linear(theta: float | None) -> bool:
    """Whether no arc is singled out: a zero tensor, or opposite directions."""
    return theta is None or math.pi - theta < ANTIPARALLEL


def coefficients(theta: float | None, t: float) -> tuple[float, float]:
    """Coefficients of A and B at share t; linear where no arc is singled out, and in the limit θ → 0."""
    if theta is None or is_linear(theta) or math.sin(theta) == 0:
        return 1 - t, t
    return math.sin((1 - t) * theta) / math.sin(theta), math.sin(t * theta) / math.sin(theta)


@merge_method(
    title=Text("По дуге (SLERP)", "SLERP"),
    summary=Text(
        "Переход от A к B по дуге, а не по прямой: величина весов сохраняется. У близких моделей почти равен Direct.",
        "From A to B along an arc instead of a line: keeps the size of the weights. For close models almost Direct.",
    ),
    sources="two",
    guide=True,
    paper="Shoemake 1985",
    endpoint={"slerp_t": 0.0},
    mirror=lambda given: {"slerp_t": 1 - given["slerp_t"]},
    fallback=lambda given: ({"direct_alpha": 1 - given["slerp_t"]}, {}),
)
def slerp(
    view: TensorView,
    *,
    slerp_t: Annotated[
        float,
        Slider(
            0.0,
            1.0,
            0.05,
            Text("Сдвиг от A к B", "Way from A to B"),
            Text(
                "0 — только модель A, 1 — только модель B. Внимание: у Direct направление обратное. Обычно 0,4–0,6.",
                "0 is model A alone, 1 is model B alone. Mind: Direct runs the other way. Usually 0.4–0.6.",
            ),
            ends=(Text("A", "A"), Text("B", "B")),
        ),
    ] = 0.5,
) -> Operator:
    """W = sin((1−t)θ)/sinθ · A + sin(tθ)/sinθ · B, θ the angle between the flattened tensors."""
    if slerp_t in {0.0, 1.0}:
        return Linear((1 - slerp_t, slerp_t))
    theta = angle(view.gram())
    view.notes["angle"] = math.nan if is_linear(theta) else float(theta or 0)
    return Linear(coefficients(theta, slerp_t))
