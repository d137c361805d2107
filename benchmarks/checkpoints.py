"""Random Whisper checkpoints of a given size, for measuring: shapes as transformers stores them, no processor."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

SHAPES: dict[str, dict[str, int]] = {
    "nano": {"d_model": 64, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 2,
             "decoder_attention_heads": 2, "encoder_ffn_dim": 256, "decoder_ffn_dim": 256, "num_mel_bins": 80,
             "vocab_size": 4000},
    "tiny": {"d_model": 384, "encoder_layers": 4, "decoder_layers": 4, "encoder_attention_heads": 6,
             "decoder_attention_heads": 6, "encoder_ffn_dim": 1536, "decoder_ffn_dim": 1536, "num_mel_bins": 80,
             "vocab_size": 51865},
    "small": {"d_model": 768, "encoder_layers": 12, "decoder_layers": 12, "encoder_attention_heads": 12,
              "decoder_attention_heads": 12, "encoder_ffn_dim": 3072, "decoder_ffn_dim": 3072, "num_mel_bins": 80,
              "vocab_size": 51865},
    "large-v3": {"d_model": 1280, "encoder_layers": 32, "decoder_layers": 32, "encoder_attention_heads": 20,
                 "decoder_attention_heads": 20, "encoder_ffn_dim": 5120, "decoder_ffn_dim": 5120, "num_mel_bins": 128,
                 "vocab_size": 51866},
}  # fmt: skip
WINDOW = 16 << 20


def config_of(shape: str) -> dict[str, Any]:
    """The config.json of a shape."""
    common = {"model_type": "whisper", "architectures": ["WhisperForConditionalGeneration"], "dtype": "float16",
              "max_source_positions": 1500, "max_target_positions": 448, "activation_function": "gelu",
              "scale_embedding": False, "pad_token_id": 50256, "bos_token_id": 50257, "eos_token_id": 50257,
              "decoder_start_token_id": 50258, "is_encoder_decoder": True}  # fmt: skip
    return {**common, **SHAPES[shape]}


def tensor_shapes(shape: str) -> dict[str, tuple[int, ...]]:
    """Name → shape of every tensor, tied head left out, in the order of the names."""
    sizes = SHAPES[shape]
    width = sizes["d_model"]
    found: dict[str, tuple[int, ...]] = {
        "model.encoder.conv1.weight": (width, sizes["num_mel_bins"], 3),
        "model.encoder.conv1.bias": (width,),
        "model.encoder.conv2.weight": (width, width, 3),
        "model.encoder.conv2.bias": (width,),
        "model.encoder.embed_positions.weight": (1500, width),
        "model.decoder.embed_positions.weight": (448, width),
        "model.decoder.embed_tokens.weight": (sizes["vocab_size"], width),
    }
    for stack, inner in (("encoder", sizes["encoder_ffn_dim"]), ("decoder", sizes["decoder_ffn_dim"])):
        found |= _norm(f"model.{stack}.layer_norm", width)
        for layer in range(sizes[f"{stack}_layers"]):
            prefix = f"model.{stack}.layers.{layer}"
            for attention in ("self_attn", *(("encoder_attn",) if stack == "decoder" else ())):
                for projection in ("q_proj", "k_proj", "v_proj", "out_proj"):
                    found[f"{prefix}.{attention}.{projection}.weight"] = (width, width)
                    if projection != "k_proj":
                        found[f"{prefix}.{attention}.{projection}.bias"] = (width,)
                found |= _norm(f"{prefix}.{attention}_layer_norm", width)
            found |= {f"{prefix}.fc1.weight": (inner, width), f"{prefix}.fc1.bias": (inner,)}
            found |= {f"{prefix}.fc2.weight": (width, inner), f"{prefix}.fc2.bias": (width,)}
            found |= _norm(f"{prefix}.final_layer_norm", width)
    return dict(sorted(found.items()))


def _norm(name: str, width: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def make_checkpoint(folder: Path, shape: str, seed: int, ancestor_seed: int = 0, distance: float = 0.02) -> Path:
    """Write fp16 weights base(ancestor_seed) + distance · noise(seed); returns the folder.

    Numbers come from a pool of random values read at random places: gigabytes within seconds, and no two alike.
    """
    folder.mkdir(parents=True)
    shapes = tensor_shapes(shape)
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name, size in shapes.items():
        nbytes = int(np.prod(size)) * 2
        header[name] = {"dtype": "F16", "shape": list(size), "data_offsets": [offset, offset + nbytes]}  # type: ignore[assignment,dict-item]
        offset += nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with (folder / "model.safetensors").open("wb") as stream:
        stream.write(len(text).to_bytes(8, "little") + text)
        for block in _random_halves(offset // 2, seed, ancestor_seed, distance):
            stream.write(block.tobytes())
        stream.flush()
        os.fsync(stream.fileno())
    (folder / "config.json").write_text(json.dumps(config_of(shape), indent=2))
    return folder


def _random_halves(count: int, seed: int, ancestor_seed: int, distance: float) -> Iterator[np.ndarray]:
    seeds = (ancestor_seed, seed)
    pools = [np.random.default_rng(number).normal(0, 0.05, WINDOW).astype(np.float32) for number in seeds]
    places = [np.random.default_rng((number, 1)) for number in seeds]
    for start in range(0, count, WINDOW):
        turned = [np.roll(pool, int(place.integers(WINDOW))) for pool, place in zip(pools, places, strict=True)]
        block = turned[0] + (distance * turned[1] if seed != ancestor_seed else 0)
        yield block[: min(WINDOW, count - start)].astype(np.float16)


def main() -> None:
    """Make base, a and b of a shape in a folder, unless they are there: `python checkpoints.py SHAPE FOLDER`."""
    shape, folder = sys.argv[1], Path(sys.argv[2])
    for name, seed in (("base", 0), ("a", 1), ("b", 2)):
        if not (folder / name).exists():
            make_checkpoint(folder / name, shape, seed)


if __name__ == "__main__":
    main()
