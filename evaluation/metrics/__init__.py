"""What is measured of a transcript against its reference; one file per metric, registered on import."""

import pkgutil
from importlib import import_module

from evaluation.metrics.registry import Counts, Figure, Line, Metric, registered

# The order of the report; a new metric's file is found without being named here and comes last.
_ORDER = ("wer", "cer", "cases", "stress_spelling", "hallucination", "speed")


def metrics() -> dict[str, Metric]:
    """Every metric, in the order of the report."""
    for module in pkgutil.iter_modules(__path__):
        import_module(f"{__name__}.{module.name}")
    found = registered()
    first = [name for name in _ORDER if name in found]
    return {name: found[name] for name in [*first, *sorted(found.keys() - set(first))]}


def figures() -> dict[str, Figure]:
    """Every figure of every metric by its key."""
    return {figure.key: figure for metric in metrics().values() for figure in metric.figures}


def measure(line: Line) -> Counts:
    """All counts of one line, of all metrics."""
    counts: Counts = {}
    for metric in metrics().values():
        counts.update(metric.measure(line))
    return counts


__all__ = ["Counts", "Figure", "Line", "Metric", "figures", "measure", "metrics"]
