"""Model Breadcrumbs (Davari and Belilovsky 2023, arXiv:2312.06795): drop the largest and the smallest changes."""

from typing import Annotated

from merger.bilingual import Text
from merger.deltas import Band, DeltaMerge
from merger.methods.common import SCALE, WEIGHTS, density, reversed_weights
from merger.operators import NOTHING, Difference, Operator, equal_weights, with_weight
from merger.params import Slider
from merger.registry import merge_method
from merger.views import TensorView

GAMMA = Slider(
    0.0,
    0.5,
    0.01,
    Text("Доля выбросов", "Share of outliers"),
    Text("Какая доля самых крупных изменений отбрасывается.", "Share of the very largest changes that is dropped."),
)


@merge_method(
    title=Text("Хлебные крошки (Breadcrumbs)", "Breadcrumbs"),
    summary=Text(
        "От изменений каждой модели отбрасываются и самые крупные, и самые мелкие; остальные складываются.",
        "Drops both the very largest and the smallest changes of each model and adds up the rest.",
    ),
    space="delta",
    paper="arXiv:2312.06795",
    mirror=reversed_weights,
)
def breadcrumbs(
    view: TensorView,
    *,
    weights: Annotated[tuple[float, ...] | None, WEIGHTS] = None,
    density: Annotated[
        float,
        density(
            "Какая доля изменений остаётся после того, как отброшены выбросы и мелочь.",
            "Share of the changes that stays once outliers and trifles are gone.",
        ),
    ] = 0.9,
    gamma: Annotated[float, GAMMA] = 0.01,
    scale: Annotated[float, SCALE] = 1.0,
) -> Operator:
    """S + λ Σ wᵢ mᵢ δᵢ: mᵢ leaves out the round(γ·n) largest and keeps the next round(density·n), at most all."""
    size = view.place.size
    dropped = round(gamma * size)
    reached = min(dropped + round(density * size), size)
    shares = equal_weights(weights, view.count)
    # A source without weight takes no part: it is not measured.
    bands = [Band(NOTHING, NOTHING)] * view.count
    for index in with_weight(shares):
        bands[index] = Band(view.top(Difference(index, -1), reached), view.top(Difference(index, -1), dropped))
    return DeltaMerge(shares, scale, tuple(bands))
