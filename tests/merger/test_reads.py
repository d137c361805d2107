"""How often the bytes of the sources are read: once for any number of outputs.

Counted at `SourceFiles.read`, through which every byte of a tensor comes that is compared, measured or merged. (The
SHA-256 of the sources is taken elsewhere, and remembered from one merge to the next.)
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import merger.engine
from merger.disk import merge_outputs
from merger.recipe import MergeRecipe
from merger.registry import methods
from merger.safetensors_header import TensorEntry
from merger.stream import SourceFiles
from tests.conftest import TinyPair
from tests.merger.merging import opened

GUIDE = [spec.name for spec in methods().values() if spec.guide]
Reads = dict[tuple[str, str], "np.ndarray"]  # (source's folder, tensor) → how often each byte was read


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Reads:
    found: Reads = {}
    read = SourceFiles.read

    def counting(self: SourceFiles, entry: TensorEntry, start: int, buffer: np.ndarray) -> None:
        # A tensor belongs to one worker, so no two threads count in one array.
        times = found.setdefault((entry.file.parent.name, entry.name), np.zeros(entry.nbytes, np.int64))
        times[start : start + len(buffer)] += 1
        read(self, entry, start, buffer)

    monkeypatch.setattr(SourceFiles, "read", counting)
    return found


def merge(pair: TinyPair, out: Path, names: list[str]) -> None:
    merge_outputs({out / name: MergeRecipe.build(name) for name in names}, opened(pair), device="cpu")


def test_all_reads_every_byte_once(tiny_pair: TinyPair, tmp_path: Path, reads: Reads) -> None:
    assert len(GUIDE) == 3
    merge(tiny_pair, tmp_path / "out", GUIDE)
    for key, folder in (("a", tiny_pair.a), ("b", tiny_pair.b)):
        for name, entry in opened(tiny_pair)[key].weights().items():
            assert set(reads[folder.name, name]) == {1} and len(reads[folder.name, name]) == entry.nbytes, name


def test_several_of_one_method_read_every_byte_once(tiny_pair: TinyPair, tmp_path: Path, reads: Reads) -> None:
    """Direct measures nothing, so it is not the measuring that keeps what was read."""
    recipes = {tmp_path / str(alpha): MergeRecipe.build("direct", {"direct_alpha": alpha}) for alpha in (0.2, 0.5, 0.8)}
    merge_outputs(recipes, opened(tiny_pair), device="cpu")
    assert {int(times.max()) for times in reads.values()} == {1}


def test_a_tensor_that_fits_no_buffer_is_read_again(
    tiny_pair: TinyPair, tmp_path: Path, reads: Reads, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory is bounded, so what does not fit is read once more by each measurement; the count above can fail."""
    monkeypatch.setattr(merger.engine, "RESIDENT_BYTES", 1 << 12)
    merge(tiny_pair, tmp_path / "out", GUIDE)
    assert max(int(times[-1]) for times in reads.values()) > 1
