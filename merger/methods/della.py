"""DELLA (Deep et al. 2024, arXiv:2406.11617): drop by magnitude and chance, elect signs, fuse."""

from typing import Annotated

from merger.bilingual import Text
from merger.deltas import DeltaMerge, RankedDrop, random_key
from merger.methods.common import SCALE, SEED, WEIGHTS
from merger.methods.dare_linear import DENSITY
from merger.operators import Operator, equal_weights
from merger.params import Slider
from merger.registry import merge_method
from merger.views import TensorView

EPSILON = Slider(
    0.0,
    1.0,
    0.05,
    Text("Разброс вероятностей", "Spread of the chances"),
    Text(
        "Насколько вероятность остаться у крупнейших изменений выше, чем у мельчайших; не больше самой доли "
        "и не больше того, что осталось до единицы.",
        "By how much the largest changes are likelier to stay than the smallest; never more than the share itself or "
        "what is left of it to one.",
    ),
)


@merge_method(
    title=Text("DELLA", "DELLA"),
    summary=Text(
        "Как DARE с голосованием, но крупные изменения остаются чаще мелких.",
        "Like DARE TIES, but large changes are likelier to stay than small ones.",
    ),
    space="delta",
    paper="arXiv:2406.11617",
)
def della(
    view: TensorView,
    *,
    weights: Annotated[tuple[float, ...] | None, WEIGHTS] = None,
    density: Annotated[float, DENSITY] = 0.5,
    epsilon: Annotated[float, EPSILON] = 0.2,
    scale: Annotated[float, SCALE] = 1.0,
    seed: Annotated[int, SEED] = 0,
) -> Operator:
    """S + λ · disjoint mean of the δᵢ thinned by MagPrune, row by row (an output neuron is a row)."""
    row = view.place.size // view.place.rows
    drops = tuple(
        RankedDrop(random_key(seed, view.place.name, index), density, epsilon, row) for index in range(view.count)
    )
    return DeltaMerge(equal_weights(weights, view.count), scale, drops, elect=True)
