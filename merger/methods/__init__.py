"""The merge methods, one per file; importing a module registers its method. The order is the order of display."""

from merger.methods import direct, slerp, ties

__all__ = ["direct", "slerp", "ties"]
