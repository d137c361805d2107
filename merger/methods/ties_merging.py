"""TIES-Merging (Yadav et al. 2023, arXiv:2306.01708): trim, elect signs, disjoint mean."""

from typing import Annotated, Any

from merger.bilingual import Text
from merger.deltas import DeltaMerge, Trim
from merger.methods.common import SCALE, WEIGHTS, density, reversed_weights
from merger.operators import NOTHING, Cut, Difference, Operator, equal_weights, with_weight
from merger.params import Choice
from merger.registry import merge_method
from merger.views import ModelView, TensorView

SCOPE = Choice(
    {
        "tensor": Text("в каждом тензоре", "in each tensor"),
        "model": Text("во всей модели", "in the whole model"),
    },
    Text("Где отбирать наибольшие", "Where the largest are chosen"),
    Text(
        "Порог отбора — свой в каждом тензоре (как в mergekit) или один на всю модель (как в коде статьи).",
        "The threshold is each tensor's own (as in mergekit) or one for the whole model (as in the paper's code).",
    ),
)


def _survey(model: ModelView, *, density: float, scope: str, **_: Any) -> list[dict[str, Cut]] | None:
    """One cut per source and tensor, for a threshold over the whole model."""
    if scope != "model":
        return None
    count = next(iter(model.views())).count
    return [model.top(Difference(index, -1), density) for index in range(count)]


@merge_method(
    title=Text("TIES-Merging (из статьи)", "TIES-Merging (paper)"),
    summary=Text(
        "От изменений каждой модели остаются крупнейшие; знак веса выбирают голосованием, несогласные отпадают.",
        "Keeps the largest changes of each model, lets the signs vote, and drops those that disagree.",
    ),
    space="delta",
    paper="arXiv:2306.01708",
    mirror=reversed_weights,
    survey=_survey,
)
def ties_merging(
    view: TensorView,
    *,
    weights: Annotated[tuple[float, ...] | None, WEIGHTS] = None,
    density: Annotated[
        float,
        density(
            "Какая доля изменений с наибольшей величиной остаётся; в статье 0,2.",
            "Share of the changes, the largest, that stays; 0.2 in the paper.",
        ),
    ] = 0.2,
    scale: Annotated[float, SCALE] = 1.0,
    scope: Annotated[str, SCOPE] = "tensor",
) -> Operator:
    """S + λ · disjoint mean of the trimmed δᵢ that have the sign of Σ wᵢ δᵢ."""
    shares = equal_weights(weights, view.count)
    if view.survey is not None:
        cuts = [by_tensor[view.place.name] for by_tensor in view.survey]
    else:
        kept = round(density * view.place.size)
        # A source without weight takes no part: it is not measured.
        weighed = with_weight(shares)
        cuts = [view.top(Difference(i, -1), kept) if i in weighed else NOTHING for i in range(view.count)]
    return DeltaMerge(shares, scale, tuple(Trim(cut) for cut in cuts), elect=True)
