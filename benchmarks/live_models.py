"""The pairs of models that the benchmarks run on, and the clips they hear."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from evaluation.vocabulary import Vocabulary
from merger.checkpoint import Checkpoint, open_checkpoint

DEMO = Path(__file__).resolve().parent.parent / "demo"
LARGE_V3: dict[str, Any] = {
    "architectures": ["WhisperForConditionalGeneration"], "model_type": "whisper", "activation_function": "gelu",
    "d_model": 1280, "encoder_layers": 32, "decoder_layers": 32, "encoder_attention_heads": 20,
    "decoder_attention_heads": 20, "encoder_ffn_dim": 5120, "decoder_ffn_dim": 5120, "num_mel_bins": 128,
    "vocab_size": 51866, "max_source_positions": 1500, "max_target_positions": 448, "scale_embedding": False,
    "bos_token_id": 50257, "eos_token_id": 50257, "pad_token_id": 50257, "decoder_start_token_id": 50258,
}  # fmt: skip
SHAPES: dict[str, dict[str, Any] | None] = {
    "large-v3": LARGE_V3,
    "small": {
        **LARGE_V3, "d_model": 768, "encoder_layers": 12, "decoder_layers": 12, "encoder_attention_heads": 12,
        "decoder_attention_heads": 12, "encoder_ffn_dim": 3072, "decoder_ffn_dim": 3072, "num_mel_bins": 80,
    },
    "demo": None,
}  # fmt: skip


@dataclass(frozen=True)
class BenchClip:
    """Mono float32 at 16 kHz."""

    samples: np.ndarray[Any, Any]
    sha256: str
    name: str

    @property
    def seconds(self) -> float:
        return len(self.samples) / 16_000


def pair(shape: str, folder: Path, device: torch.device) -> tuple[Checkpoint, Checkpoint]:
    """The demo pair, or two random checkpoints of a shape: B is A with one per cent of noise."""
    config = SHAPES[shape]
    if config is None:
        return open_checkpoint(DEMO / "models" / "a"), open_checkpoint(DEMO / "models" / "b")
    from safetensors.torch import save_file
    from transformers import WhisperConfig, WhisperForConditionalGeneration

    with torch.device("meta"):
        shapes = WhisperForConditionalGeneration(WhisperConfig.from_dict(config)).state_dict()
    generator = torch.Generator(device).manual_seed(0)
    models: dict[str, dict[str, torch.Tensor]] = {"a": {}, "b": {}}
    for name, value in shapes.items():
        if name == "proj_out.weight":
            continue
        spread = 0.02 if value.ndim > 1 else 0.0
        centre = 1.0 if "layer_norm.weight" in name else 0.0
        noise = torch.randn(value.shape, generator=generator, device=device)
        drift = torch.randn(value.shape, generator=generator, device=device)
        a = centre + spread * noise
        models["a"][name] = a.half().cpu()
        models["b"][name] = (a + 0.01 * max(spread, 0.02) * drift).half().cpu()
    for key, tensors in models.items():
        (folder / key).mkdir()
        (folder / key / "config.json").write_text(json.dumps({**config, "dtype": "float16"}), encoding="utf-8")
        save_file(tensors, folder / key / "model.safetensors", metadata={"format": "pt"})
    return open_checkpoint(folder / "a"), open_checkpoint(folder / "b")


def large_vocabulary() -> Vocabulary:
    """The special tokens of large-v3. The end token is suppressed, so that random weights write to the limit; so are
    timestamps, after which `generate` would begin a further window."""
    return Vocabulary(
        start=50258, end=50257, pad=50257, no_timestamps=50364, prompt_language={"ru": 50263},
        prompt_task={"transcribe": 50360, "translate": 50359},
        suppress=(50257, 50258, 50359, 50360, 50361, 50362, 50363, *range(50365, 51866)), begin_suppress=(220, 50257),
        max_initial_timestamp=50, max_length=448, size=51866, special=frozenset(range(50257, 50365)),
    )  # fmt: skip


def sample_clips(packed: Path | None) -> list[BenchClip]:
    """The demo's sample clips, from a packed npz or decoded here; without either, noise under tones."""
    if packed is not None:
        with np.load(packed) as stored:
            return [_clip(stored[name].astype(np.float32) / 32768, name) for name in stored.files]
    try:
        from evaluation.audio import load_clip

        return [
            BenchClip(clip.samples, clip.sha256, clip.name)
            for clip in (load_clip(path) for path in sorted((DEMO / "samples").glob("*.ogg")))
        ]
    except ImportError:
        return synthetic_clips(12)


def speech_clips(folder: Path) -> list[BenchClip]:
    """All audio files of a folder, as they were rendered: mono, 16 kHz."""
    import soundfile

    return [
        _clip(soundfile.read(path, dtype="float32")[0], path.name)
        for path in sorted(folder.iterdir())
        if path.suffix in {".ogg", ".wav", ".flac"}
    ]


def synthetic_clips(count: int, lengths: Sequence[float] | None = None) -> list[BenchClip]:
    """Noise under slowly moving tones, 2 to 12 s, or of `lengths` in seconds."""
    clips = []
    for seed in range(count):
        random = np.random.default_rng(seed)
        t = np.arange(int((lengths[seed] if lengths else 2 + seed % 11) * 16_000)) / 16_000
        wave = 0.2 * np.sin(2 * np.pi * (150 + 30 * seed % 400 + 60 * np.sin(t)) * t) * (1 + np.sin(3 * t)) / 2
        clips.append(_clip((wave + 0.02 * random.standard_normal(len(t))).astype(np.float32), f"synthetic-{seed}"))
    return clips


def _clip(samples: np.ndarray[Any, Any], name: str) -> BenchClip:
    return BenchClip(samples, hashlib.sha256(samples.tobytes()).hexdigest(), name)


def pack(path: Path) -> None:
    """Write the sample clips as int16 npz, for machines without an audio library."""
    np.savez_compressed(
        path, **{clip.name: np.round(clip.samples * 32767).astype(np.int16) for clip in sample_clips(None)}
    )


if __name__ == "__main__":
    import sys

    pack(Path(sys.argv[1]))
