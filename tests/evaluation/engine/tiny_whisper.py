"""Small real Whisper models with random weights and a real byte-level tokenizer, made in memory."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from transformers import GenerationConfig, WhisperConfig, WhisperForConditionalGeneration, WhisperProcessor

from tests.factories import SPECIAL, save_processor, vocabulary_size

END, START = 256, 257
NO_TIMESTAMPS = 256 + SPECIAL.index("<|notimestamps|>")


@dataclass(frozen=True)
class Clip:
    """A clip as the transcribers need it."""

    samples: np.ndarray[Any, Any]
    sha256: str
    name: str = "clip"
    sample_rate: int = 16_000

    @property
    def seconds(self) -> float:
        return len(self.samples) / self.sample_rate


def make_clip(seconds: float, seed: int = 0) -> Clip:
    """Noise under slowly moving tones: different in every second."""
    random = np.random.default_rng(seed)
    t = np.arange(int(seconds * 16_000)) / 16_000
    wave = 0.2 * np.sin(2 * np.pi * (200 + 40 * seed + 90 * np.sin(t)) * t) * (1 + np.sin(3 * t)) / 2
    samples = (wave + 0.02 * random.standard_normal(len(t))).astype(np.float32)
    return Clip(samples, hashlib.sha256(samples.tobytes()).hexdigest())


@cache
def make_processor() -> WhisperProcessor:
    """The suite's byte-level processor, loaded once."""
    with TemporaryDirectory() as folder:
        save_processor(Path(folder))
        return WhisperProcessor.from_pretrained(folder)


def make_module(
    seed: int = 0,
    *,
    d_model: int = 32,
    heads: int = 2,
    layers: tuple[int, int] = (2, 2),
    end_bias: float = 0.0,
    **config: Any,
) -> WhisperForConditionalGeneration:
    """A random model whose greedy transcripts vary: large weights, so that clip and position decide the token.

    `end_bias` lengthens (negative) or shortens the transcripts by scaling the end token's embedding.
    """
    settings = WhisperConfig(
        vocab_size=vocabulary_size(), d_model=d_model, encoder_layers=layers[0], decoder_layers=layers[1],
        encoder_attention_heads=heads, decoder_attention_heads=heads, encoder_ffn_dim=4 * d_model,
        decoder_ffn_dim=4 * d_model, bos_token_id=END, eos_token_id=END, pad_token_id=END,
        decoder_start_token_id=START, suppress_tokens=None, begin_suppress_tokens=None, **config,
    )
    torch.manual_seed(seed)
    module = WhisperForConditionalGeneration(settings).eval()
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if "encoder.embed_positions" in name:
                continue
            if "layer_norm" in name:
                parameter.add_(0.1 * torch.randn_like(parameter))
            elif name.endswith("bias"):
                parameter.copy_(0.1 * torch.randn_like(parameter))
            elif "embed" in name:
                parameter.copy_(torch.randn_like(parameter) * (2.0 if "positions" in name else 0.5))
            else:
                parameter.copy_(torch.randn_like(parameter) * 1.5 / parameter[0].numel() ** 0.5)
        module.proj_out.weight[END] *= 1.0 + end_bias
    module.generation_config = GenerationConfig(
        decoder_start_token_id=START, bos_token_id=END, eos_token_id=END, pad_token_id=END,
        lang_to_id={"<|en|>": START + 1, "<|ru|>": START + 2},
        task_to_id={"translate": START + 3, "transcribe": START + 4},
        no_timestamps_token_id=NO_TIMESTAMPS, is_multilingual=True, max_initial_timestamp_index=50,
        suppress_tokens=[3, 7, START, NO_TIMESTAMPS - 1], begin_suppress_tokens=[32, END],
        alignment_heads=[[0, 0], [layers[1] - 1, heads - 1]],
    )
    return module
