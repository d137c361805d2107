"""Fixtures that every part of the suite may use."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.factories import make_whisper_folder


@dataclass(frozen=True)
class TinyPair:
    """Two fine-tunes and their common base: complete folders of real, tiny Whisper checkpoints."""

    base: Path
    a: Path
    b: Path


@pytest.fixture(scope="session")
def tiny_pair(tmp_path_factory: pytest.TempPathFactory) -> TinyPair:
    """Base, A and B as fp16 folders with processors; treat them as read-only."""
    root = tmp_path_factory.mktemp("tiny_pair")
    base = make_whisper_folder(root / "base", seed=1)
    return TinyPair(
        base,
        make_whisper_folder(root / "a", seed=2, ancestor=base),
        make_whisper_folder(root / "b", seed=3, ancestor=base),
    )


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What failed at first and was run once more (tests/browser/conftest.py) is told, with its reason."""
    for report in terminalreporter.stats.get("rerun", []):
        terminalreporter.section(f"run once more: {report.nodeid}")
        terminalreporter.write_line(report.longreprtext[-3000:])
