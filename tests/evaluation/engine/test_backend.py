"""The captured backend, run uncaptured on the CPU, and the choice of the step."""

from __future__ import annotations

import pytest
import torch

from evaluation.engine.backend import CpuBackend, CudaBackend
from evaluation.engine.device_greedy import make_plain_step
from evaluation.engine.model import Caches
from evaluation.engine.rules import Rules
from evaluation.engine.tensors import collect
from evaluation.features import log_mel
from evaluation.vocabulary import Vocabulary
from tests.evaluation.engine.tiny_whisper import make_clip, make_module, make_processor


@pytest.mark.parametrize("seed", range(2))
@torch.inference_mode()
def test_both_backends_write_the_same(seed: int) -> None:
    module = make_module(seed)
    tensors = collect(module)
    vocabulary = Vocabulary.of(module, make_processor().tokenizer)
    rules = Rules(vocabulary, False, torch.device("cpu"))
    backends = [
        CpuBackend(tensors, Caches(tensors, 1)),
        CudaBackend(tensors, Caches(tensors, 1), make_plain_step),
    ]
    for clip in (make_clip(2, seed), make_clip(3, seed + 7)):
        window = log_mel(clip.samples, 80, device="cpu")
        heard = [backend.encode(window) for backend in backends]
        assert torch.equal(*heard)
        prompt = vocabulary.prompt("ru", "transcribe", False)
        written = [
            backend.decode(sound, prompt, 20, rules, drafts=[], cancelled=None).tokens
            for backend, sound in zip(backends, heard, strict=True)
        ]
        assert written[0] == written[1]
