"""What is measured of a transcript against its reference; one file per metric, registered on import."""

from evaluation.metrics import hallucination as hallucination
from evaluation.metrics.registry import Counts, Figure, Line, Metric, registered


def metrics() -> dict[str, Metric]:
    """Every registered metric, in the order of the report."""
    return dict(registered())


__all__ = ["Counts", "Figure", "Line", "Metric", "metrics"]
