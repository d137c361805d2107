"""How a metric is declared.

A metric reads one scored line and returns *counts that add up*; its figures are ratios of such counts. So a corpus
figure is the ratio of pooled sums, never a mean of sentences, and one bootstrap serves every metric: it draws blocks
of lines and adds their counts.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from evaluation.scores import Pair
from merger.bilingual import Text

Counts = dict[str, float]


@dataclass(frozen=True)
class Line(Pair):
    """A scored pair with what else was measured of the clip."""

    audio_seconds: float = 0.0
    seconds_wall: float = 0.0


@dataclass(frozen=True)
class Figure:
    """numerator / denominator of a metric's pooled counts; undefined while the denominator is 0.

    `share`: the numerator counts some of what the denominator counts, so the ratio cannot pass 1.
    `unit`: "percent" shows the ratio times 100, "times" shows it as a factor (RTFx).
    """

    key: str
    numerator: str
    denominator: str
    title: Text
    better: Literal["lower", "higher"] = "lower"
    unit: Literal["percent", "times"] = "percent"
    share: bool = True

    def of(self, counts: Mapping[str, float]) -> float | None:
        denominator = counts.get(self.denominator, 0)
        return counts.get(self.numerator, 0) / denominator if denominator else None


@dataclass(frozen=True)
class Metric:
    name: str
    title: Text
    figures: tuple[Figure, ...]
    measure: Callable[[Line], Counts]


_METRICS: dict[str, Metric] = {}


def metric(
    name: str, title: Text, figures: tuple[Figure, ...]
) -> Callable[[Callable[[Line], Counts]], Callable[[Line], Counts]]:
    """Registers a function Line → Counts under `name`."""

    def register(measure: Callable[[Line], Counts]) -> Callable[[Line], Counts]:
        if name in _METRICS:
            raise ValueError(f"metric {name!r} is registered twice")
        _METRICS[name] = Metric(name, title, figures, measure)
        return measure

    return register


def registered() -> dict[str, Metric]:
    return _METRICS
