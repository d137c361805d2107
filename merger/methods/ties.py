"""TIES as the guide defines it: the largest differences are blended by weight, all others averaged.

Not the algorithm of the paper (Yadav et al. 2023, arXiv:2306.01708), which needs the base model, trims the difference
of each model to it and lets the signs vote: that one is `ties-merging`.
"""

from collections.abc import Mapping
from typing import Annotated, Any

from merger.bilingual import Text
from merger.operators import Difference, Linear, Operator, TopBlend, average
from merger.params import Slider, WeightPair
from merger.registry import merge_method
from merger.views import TensorView


def _mirrored(given: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value if key == "ties_density" else tuple(reversed(value)) for key, value in given.items()}


def _as_direct(given: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Direct with A's share of each component: what the weights ask for where models differ most."""
    hears, writes = given["encoder_weights"][0], given["decoder_weights"][0]
    return {"direct_alpha": writes}, {"encoder": {"direct_alpha": hears}}


@merge_method(
    title=Text("TIES (по руководству)", "TIES (guide)"),
    summary=Text(
        "Там, где модели расходятся сильнее всего, — ваши веса для слуха и письма, в остальном — среднее. "
        "В отличие от TIES-Merging из статьи, базовая модель не нужна и знаки не голосуют.",
        "Where the models differ most, your weights for hearing and writing decide; elsewhere the mean. "
        "Unlike the paper's TIES-Merging it needs no base model and takes no vote of signs.",
    ),
    sources="two",
    guide=True,
    endpoint={"ties_density": 1.0, "encoder_weights": (1.0, 0.0), "decoder_weights": (1.0, 0.0)},
    mirror=_mirrored,
    fallback=_as_direct,
)
def ties(
    view: TensorView,
    *,
    ties_density: Annotated[
        float,
        Slider(
            0.0,
            1.0,
            0.05,
            Text("Доля особенных весов", "Share of distinctive weights"),
            Text(
                "Какая доля весов с наибольшим расхождением смешивается по вашим долям; остальные усредняются. "
                "0,8–0,9 сохраняет особенности моделей, 0,5–0,7 ровнее. Для русских моделей советуют 0,85.",
                "Share of the weights, those that differ most, that follow your proportions; the others are averaged. "
                "0.8–0.9 keeps what is special in each model, 0.5–0.7 is steadier. 0.85 is advised for Russian.",
            ),
            ends=(Text("усреднить всё", "average all"), Text("всё по весам", "weigh all")),
        ),
    ] = 0.8,
    encoder_weights: Annotated[
        tuple[float, float],
        WeightPair(
            Text("Слышит (кодировщик)", "Hears (encoder)"),
            Text(
                "Доли A и B там, где модель слушает звук. Больше A — если A лучше разбирает произношение, "
                "больше B — если B лучше понимает акценты и говоры.",
                "Shares of A and B where the model listens. More A if A hears pronunciation better, "
                "more B if B copes better with accents and dialects.",
            ),
            components=("encoder",),
        ),
    ] = (0.6, 0.4),
    decoder_weights: Annotated[
        tuple[float, float],
        WeightPair(
            Text("Пишет (декодер)", "Writes (decoder)"),
            Text(
                "Доли A и B там, где модель составляет текст. Больше A — если у A лучше грамматика, "
                "больше B — если B лучше чувствует контекст.",
                "Shares of A and B where the model writes the text. More A if A's grammar is better, "
                "more B if B has the better sense of context.",
            ),
            components=("decoder", "cross_attention", "embeddings"),
        ),
    ] = (0.4, 0.6),
) -> Operator:
    """`density` of the elements, those of the largest |A − B|: wA·A + wB·B; all others: 0.5·A + 0.5·B."""
    inside = Linear(encoder_weights if view.place.stack == "encoder" else decoder_weights)
    outside = average()
    blended = round(ties_density * view.place.size)
    if inside == outside or blended == 0:
        return outside
    if blended == view.place.size:
        return inside
    return TopBlend(view.top(Difference(0, 1), blended), inside, outside)
