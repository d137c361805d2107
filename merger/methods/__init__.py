"""The merge methods, one per file; importing a module registers its method. The order is the order of display."""

from merger.methods import (  # noqa: F401, I001 — imported to be registered; the guide's first, then by kinship
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
