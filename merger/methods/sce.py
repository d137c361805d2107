"""SCE (FuseChat, Wan et al. 2024, arXiv:2408.07990): select by variance, calculate weights, erase minority signs."""

from dataclasses import dataclass
from typing import Annotated

from merger.arrays import Array, single, where, zeros_like
from merger.bilingual import Text
from merger.deltas import elected_mean, weighted_sum
from merger.methods.common import SCALE, density
from merger.operators import Chunk, Cut, Elementwise, Operator
from merger.registry import merge_method
from merger.views import TensorView


def spread(chunk: Chunk) -> Array:
    """Variance of the models at each element, float32."""
    mean = weighted_sum(chunk.sources, (1 / len(chunk.sources),) * len(chunk.sources))
    total = zeros_like(mean)
    for source in chunk.sources:
        total = total + (source - mean) * (source - mean)
    return total * single(1 / len(chunk.sources))


def selected(chunk: Chunk, cut: Cut) -> list[Array]:
    """The deltas where the models vary most, zero elsewhere."""
    mask = cut.mask(spread(chunk), chunk.start)
    return [where(mask, source - chunk.base, zeros_like(source)) for source in chunk.sources]


@dataclass(frozen=True)
class ErasedSum(Elementwise):
    """S + λ · disjoint mean of the selected δᵢ that have the sign of their sum, with the calculated weights."""

    weights: tuple[float, ...]
    cut: Cut
    scale: float

    def __call__(self, chunk: Chunk) -> Array:
        deltas = selected(chunk, self.cut)
        ballot = weighted_sum(deltas, (1.0,) * len(deltas))
        return chunk.base + elected_mean(deltas, self.weights, ballot) * single(self.scale)


@merge_method(
    title=Text("SCE (веса по силе изменений)", "SCE"),
    summary=Text(
        "Берёт места, где модели расходятся сильнее всего, и сама даёт больше веса той, что изменилась сильнее.",
        "Takes the places where the models vary most and gives more weight to the model that changed more.",
    ),
    space="delta",
    paper="arXiv:2408.07990",
    mirror=dict,
)
def sce(
    view: TensorView,
    *,
    density: Annotated[
        float,
        density(
            "Какая доля весов с наибольшим разбросом между моделями меняется.",
            "Share of the weights, those that vary most between the models, that changes.",
        ),
    ] = 1.0,
    scale: Annotated[float, SCALE] = 1.0,
) -> Operator:
    """Weights Σ δᵢ² / Σⱼ Σ δⱼ² per tensor over the selected elements; then the disjoint mean."""
    cut = view.top(spread, round(density * view.place.size))
    energy = view.sums(lambda chunk: [delta * delta for delta in selected(chunk, cut)])
    total = sum(energy)
    weights = tuple(each / total for each in energy) if total > 0 else (1 / view.count,) * view.count
    return ErasedSum(weights, cut, scale)
