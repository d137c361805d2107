"""DARE with TIES' sign election (Yu et al. 2024, arXiv:2311.03099, combined with arXiv:2306.01708)."""

from typing import Annotated

from merger.bilingual import Text
from merger.deltas import DeltaMerge
from merger.methods.common import SCALE, SEED, WEIGHTS
from merger.methods.dare_linear import DENSITY, random_drops
from merger.operators import Operator, equal_weights
from merger.registry import merge_method
from merger.views import TensorView


@merge_method(
    title=Text("DARE с голосованием знаков", "DARE TIES"),
    summary=Text(
        "Как DARE, но знак каждого веса выбирается голосованием, несогласные изменения отпадают.",
        "Like DARE, but the signs vote and the changes that disagree are dropped.",
    ),
    space="delta",
    paper="arXiv:2311.03099",
)
def dare_ties(
    view: TensorView,
    *,
    weights: Annotated[tuple[float, ...] | None, WEIGHTS] = None,
    density: Annotated[float, DENSITY] = 0.5,
    scale: Annotated[float, SCALE] = 1.0,
    seed: Annotated[int, SEED] = 0,
) -> Operator:
    """S + λ · disjoint mean of the randomly thinned δᵢ that have the elected sign."""
    return DeltaMerge(equal_weights(weights, view.count), scale, random_drops(view, seed, density), elect=True)
