"""The guide's identities on the bundled pair, through the whole engine: files in, files out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from merger.checkpoint import Checkpoint, open_checkpoint
from merger.disk import merge_to_folder
from merger.recipe import MergeRecipe
from merger.stream import SourceFiles

MODELS = Path(__file__).resolve().parents[2] / "demo/models"
pytestmark = pytest.mark.skipif(not (MODELS / "a/config.json").exists(), reason="the demo pair is not here")


@pytest.fixture(scope="module")
def pair() -> dict[str, Checkpoint]:
    return {key: open_checkpoint(MODELS / key) for key in ("a", "b")}


def contents(checkpoint: Checkpoint) -> dict[str, bytes]:
    """Every tensor's bytes."""
    import numpy as np

    found = {}
    with SourceFiles({"x": checkpoint}) as files:
        for name, entry in checkpoint.weights().items():
            buffer = np.empty(entry.nbytes, np.uint8)
            files.read(entry, 0, buffer)
            found[name] = buffer.tobytes()
    return found


def merged(pair: dict[str, Checkpoint], out: Path, method: str, **given: Any) -> dict[str, bytes]:
    return contents(open_checkpoint(merge_to_folder(MergeRecipe.build(method, given), pair, out).folder))


@pytest.mark.parametrize(
    ("key", "method", "given"),
    [
        ("a", "direct", {"direct_alpha": 1.0}),
        ("b", "direct", {"direct_alpha": 0.0}),
        ("a", "slerp", {"slerp_t": 0.0}),
        ("b", "slerp", {"slerp_t": 1.0}),
        ("a", "ties", {"ties_density": 1.0, "encoder_weights": [1, 0], "decoder_weights": [1, 0]}),
        ("b", "ties", {"ties_density": 1.0, "encoder_weights": [0, 1], "decoder_weights": [0, 1]}),
    ],
)
def test_ends_are_the_parents_bit_for_bit(
    key: str, method: str, given: dict[str, Any], pair: dict[str, Checkpoint], tmp_path: Path
) -> None:
    assert merged(pair, tmp_path / "out", method, **given) == contents(pair[key])


def test_ties_identities(pair: dict[str, Checkpoint], tmp_path: Path) -> None:
    half = merged(pair, tmp_path / "out", "direct", direct_alpha=0.5)
    even = {"encoder_weights": [0.5, 0.5], "decoder_weights": [0.5, 0.5]}
    assert merged(pair, tmp_path / "out", "ties", ties_density=0.37, **even) == half
    assert merged(pair, tmp_path / "out", "ties", ties_density=0.0) == half
    pairs = {"encoder_weights": [0.7, 0.3], "decoder_weights": [0.7, 0.3]}
    straight = merged(pair, tmp_path / "out", "direct", direct_alpha=0.7)
    assert merged(pair, tmp_path / "out", "ties", ties_density=1.0, **pairs) == straight
    assert straight != half
