"""Faults made on purpose. `make faults` (FAULTS=long) runs them in full and prints what was reached; otherwise short.

A test that measured something says so with `reached`; the table of the run is printed at its end.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.ui.conftest import demo_folder, settings, workshop

__all__ = ["demo_folder", "settings", "workshop"]

LONG = os.environ.get("FAULTS") == "long"
TABLE: list[tuple[str, str, str]] = []
Reached = Callable[[str, str, str], None]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in Path(item.fspath).parents:
            item.add_marker(pytest.mark.faults)


def how_many(long: int, short: int) -> int:
    """The number of tries of this run."""
    return long if LONG else short


def in_time(seconds: float, limit: float) -> bool:
    """Whether a goal in seconds was reached. It is judged in full runs; a short one shares its machine with others."""
    return not LONG or seconds <= limit


@pytest.fixture
def reached() -> Reached:
    """Takes (fault, goal, what was reached) for the table."""
    return lambda fault, goal, figures: TABLE.append((fault, goal, figures))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if TABLE and LONG:
        terminalreporter.write_line("\n| fault | goal | reached |\n| --- | --- | --- |")
        for row in TABLE:
            terminalreporter.write_line("| " + " | ".join(row) + " |")
