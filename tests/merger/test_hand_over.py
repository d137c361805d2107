"""A GPU without room, wherever it shows, hands over to the CPU with the same method; and what is told on the way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from merger.arithmetic import TorchArithmetic, choose_arithmetic
from merger.disk import Progress, merge_to_folder
from merger.output import OutputFile
from merger.recipe import MergeRecipe
from tests.conftest import TinyPair
from tests.merger.merging import HALF, opened, tree

ERRORS = [torch.cuda.OutOfMemoryError("full"), RuntimeError("CUDA error: out of memory")]


class FullCard(TorchArithmetic):
    """torch on the CPU in the part of a card that runs out of memory in one of its functions."""

    def __init__(self, function: str, error: RuntimeError) -> None:
        super().__init__("cpu")
        self.name = "cuda:0"

        def fail(*_: Any) -> None:
            raise error

        setattr(self, function, fail)


@pytest.mark.parametrize("error", ERRORS, ids=["torch's", "CUDA's"])
@pytest.mark.parametrize("function", ["load", "store"])
@pytest.mark.parametrize(
    ("method", "given"),
    [("direct", {}), ("slerp", {}), ("ties-merging", {}), ("ties-merging", {"scope": "model"}), ("sce", {})],
    ids=["direct", "slerp", "ties-merging", "over the model", "sce"],
)
def test_all_of_the_arithmetic_hands_over(
    method: str, given: dict[str, Any], function: str, error: RuntimeError, tiny_pair: TinyPair, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    recipe, sources = MergeRecipe.build(method, given), opened(tiny_pair, base=True)
    merge_to_folder(recipe, sources, tmp_path / "expected", device="cpu")
    cpu = choose_arithmetic("cpu")
    monkeypatch.setattr(
        "merger.disk.choose_arithmetic", lambda device: cpu if device == "cpu" else FullCard(function, error)
    )
    report = merge_to_folder(recipe, sources, tmp_path / "out", device="cuda:0")
    assert (report.performed, report.device) == (method, cpu.name)
    assert [warning.en for warning in report.warnings if "cuda:0 ran out of memory" in warning.en]
    files = (tree(tmp_path / name)["model.safetensors"] for name in ("out", "expected"))
    assert len(set(files)) == 1


def test_merging_is_told_before_the_first_byte_is_written(
    tiny_pair: TinyPair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However fast the work is done: nobody has to look at the right moment."""
    events: list[Any] = []
    write = OutputFile.write

    def noting(self: OutputFile, data: np.ndarray, offset: int) -> None:
        events.append("write")
        write(self, data, offset)

    def told(progress: Progress) -> None:
        if progress.stage == "merging":
            events.append(progress.done_bytes)

    monkeypatch.setattr(OutputFile, "write", noting)
    merge_to_folder(HALF, opened(tiny_pair), tmp_path / "out", on_progress=told)
    assert events.index(0) < events.index("write")
