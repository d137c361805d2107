"""Two tiny fine-tunes of one random base, as checkpoints; and base, A and B as folders (`trio`)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from merger.checkpoint import Checkpoint, open_checkpoint
from tests.evaluation.engine.tiny_whisper import make_module, make_processor
from tests.evaluation.trio import trio  # noqa: F401 (a fixture)


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny models on a machine that runs tests side by side: a second thread mostly waits for the first."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def talking_pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Checkpoint, Checkpoint]:
    """Checkpoints A and B in fp16: one base with two different small disturbances."""
    return save_pair(tmp_path_factory.mktemp("pair"))


def save_pair(folder: Path, **config: object) -> tuple[Checkpoint, Checkpoint]:
    for name, seed in (("a", 1), ("b", 2)):
        module = make_module(0, **config)
        torch.manual_seed(seed)
        with torch.no_grad():
            for key, parameter in module.named_parameters():
                if "encoder.embed_positions" not in key:
                    parameter.add_(0.1 * parameter.std() * torch.randn_like(parameter))
        module.half().save_pretrained(folder / name)
        make_processor().save_pretrained(folder / name)
    return open_checkpoint(folder / "a"), open_checkpoint(folder / "b")
