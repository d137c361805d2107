"""pymorphy3, loaded once and only when it is needed (its dictionary takes about 0.1 s and 15 MB)."""

from functools import lru_cache
from typing import Any


@lru_cache(maxsize=1)
def analyzer() -> Any:
    """The one `pymorphy3.MorphAnalyzer` of the process."""
    import pymorphy3

    return pymorphy3.MorphAnalyzer(lang="ru")


@lru_cache(maxsize=65_536)
def parses(word: str) -> tuple[Any, ...]:
    """All parses of a lower-case word."""
    return tuple(analyzer().parse(word))
