"""The merge methods, one per file; importing a module registers its method. The order is the order of display."""

from merger.methods import (  # noqa: I001 — the guide's first, then by kinship
    direct,
    slerp,
    ties,
    swap,
    linear,
    nuslerp,
    karcher,
    geometric_median,
    task_arithmetic,
    ties_merging,
    dare_linear,
    dare_ties,
    della,
    breadcrumbs,
    sce,
    model_stock,
)

__all__ = [
    "breadcrumbs",
    "dare_linear",
    "dare_ties",
    "della",
    "direct",
    "geometric_median",
    "karcher",
    "linear",
    "model_stock",
    "nuslerp",
    "sce",
    "slerp",
    "swap",
    "task_arithmetic",
    "ties",
    "ties_merging",
]
