"""Fixtures that several tests of the merger share."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.conftest import TinyPair


@pytest.fixture
def folder(tiny_pair: TinyPair, tmp_path: Path) -> Path:
    """A copy of model A that a test may spoil."""
    shutil.copytree(tiny_pair.a, tmp_path / "model")
    return tmp_path / "model"
