"""Parameters that several methods share, and helpers for them."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from merger.bilingual import Text
from merger.operators import Linear
from merger.params import Integer, Slider, SourceWeights
from merger.views import TensorView

WEIGHTS = SourceWeights(
    Text("Доли моделей", "Shares of the models"),
    Text(
        "Вес каждой модели по порядку; по умолчанию поровну.",
        "The weight of each model in order; equal by default.",
    ),
)
SCALE = Slider(
    0.0,
    2.0,
    0.05,
    Text("Сила обученного", "Strength of what was learnt"),
    Text(
        "Во сколько раз усилить то, чему модели научились сверх базовой: 0 — базовая модель, 1 — как есть.",
        "How strongly to apply what the models learnt beyond the base: 0 is the base itself, 1 is as it is.",
    ),
    ends=(Text("база", "base"), Text("вдвое сильнее", "twice as strong")),
)
SEED = Integer(
    0,
    2**31 - 1,
    Text("Зерно случайности", "Random seed"),
    Text(
        "Одно и то же число даёт один и тот же результат.",
        "The same number gives the same result.",
    ),
)


def density(ru: str, en: str) -> Slider:
    """A share of elements to keep, with its own help."""
    label = Text("Доля сохраняемых изменений", "Share of changes kept")
    return Slider(0.0, 1.0, 0.05, label, Text(ru, en), ends=(Text("ничего", "nothing"), Text("всё", "everything")))


def reversed_weights(given: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters after A and B have changed places; further sources stay where they are."""
    weights = given.get("weights")
    return {**given, "weights": None if weights is None else (weights[1], weights[0], *weights[2:])}


def combination(
    view: TensorView,
    shares: tuple[float, ...],
    coefficients: Callable[[np.ndarray, tuple[float, ...]], tuple[float, ...]],
) -> Linear:
    """The models combined by what `coefficients(Gram matrix, shares)` says of those that have a share.

    The others are not read: what does not weigh shall not count, not even with a NaN.
    """
    kept = [index for index, share in enumerate(shares) if share > 0]
    if max(shares) == 1.0:
        return Linear(shares)
    measured = view if len(kept) == view.count else view.only(kept)
    found = coefficients(measured.gram(), tuple(shares[index] for index in kept))
    by_source = dict(zip(kept, found, strict=True))
    return Linear(tuple(by_source.get(index, 0.0) for index in range(view.count)))


def normalised(weights: tuple[float, ...] | None, count: int) -> tuple[float, ...]:
    """Weights that sum to 1; equal ones if none are given."""
    if weights is None:
        return (1 / count,) * count
    total = sum(weights)
    return tuple(weight / total for weight in weights)
