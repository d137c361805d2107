"""DARE (Yu et al. 2024, arXiv:2311.03099): drop changes at random, rescale the rest, add them up."""

from typing import Annotated

from merger.bilingual import Text
from merger.deltas import DeltaMerge, RandomDrop, random_key
from merger.methods.common import SCALE, SEED, WEIGHTS, density
from merger.operators import Operator, equal_weights
from merger.registry import merge_method
from merger.views import TensorView

DENSITY = density(
    "С какой вероятностью каждое изменение остаётся; оставшиеся усиливаются во столько же раз.",
    "The chance that a change stays; those that stay are enlarged to make up for the others.",
)


def random_drops(view: TensorView, seed: int, kept: float) -> tuple[RandomDrop, ...]:
    """One thinning per source, each with its own random numbers."""
    return tuple(RandomDrop(random_key(seed, view.place.name, index), kept) for index in range(view.count))


@merge_method(
    title=Text("DARE со сложением", "DARE linear"),
    summary=Text(
        "Часть изменений каждой модели случайно отбрасывается, остальные усиливаются и складываются.",
        "Drops a random part of each model's changes, enlarges the rest and adds them up.",
    ),
    space="delta",
    paper="arXiv:2311.03099",
)
def dare_linear(
    view: TensorView,
    *,
    weights: Annotated[tuple[float, ...] | None, WEIGHTS] = None,
    density: Annotated[float, DENSITY] = 0.5,
    scale: Annotated[float, SCALE] = 1.0,
    seed: Annotated[int, SEED] = 0,
) -> Operator:
    """S + λ Σ wᵢ mᵢ δᵢ / density with independent masks mᵢ of that density."""
    return DeltaMerge(equal_weights(weights, view.count), scale, random_drops(view, seed, density))
