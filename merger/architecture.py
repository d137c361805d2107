"""The tensors of a Whisper as its config describes it (Radford et al. 2022, arXiv:2212.04356, §2.2)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from merger.layout import EMBEDDING

Shape = tuple[int, ...]


def expected_tensors(config: Mapping[str, Any]) -> dict[str, Shape] | None:
    """Name → shape, without the tied output head; None where the config leaves out a number that decides them."""
    keys = ("d_model", "num_mel_bins", "vocab_size", "max_source_positions", "max_target_positions")
    sizes = [config.get(key) for key in keys]
    stacks = [[config.get(f"{stack}_{part}") for part in ("layers", "ffn_dim")] for stack in ("encoder", "decoder")]
    if any(not isinstance(size, int) for size in [*sizes, *stacks[0], *stacks[1]]):
        return None
    d, bins, words, heard, written = (int(size) for size in sizes if size is not None)
    found: dict[str, Shape] = {
        "model.encoder.conv1.weight": (d, bins, 3), "model.encoder.conv1.bias": (d,),
        "model.encoder.conv2.weight": (d, d, 3), "model.encoder.conv2.bias": (d,),
        "model.encoder.embed_positions.weight": (heard, d),
        EMBEDDING: (words, d), "model.decoder.embed_positions.weight": (written, d),
    }  # fmt: skip
    for stack, (layers, inner) in zip(("encoder", "decoder"), stacks, strict=True):
        found |= _norm(f"model.{stack}.layer_norm", d)
        for index in range(int(layers or 0)):
            attentions = ("self_attn",) if stack == "encoder" else ("self_attn", "encoder_attn")
            found |= dict(_layer(f"model.{stack}.layers.{index}", d, int(inner or 0), attentions))
    return found


def _norm(name: str, d: int) -> dict[str, Shape]:
    return {f"{name}.weight": (d,), f"{name}.bias": (d,)}


def _layer(name: str, d: int, inner: int, attentions: tuple[str, ...]) -> Iterator[tuple[str, Shape]]:
    for attention in attentions:
        for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
            yield f"{name}.{attention}.{part}.weight", (d, d)
            if part != "k_proj":  # keys have no bias in Whisper
                yield f"{name}.{attention}.{part}.bias", (d,)
        yield from _norm(f"{name}.{attention}_layer_norm", d).items()
    for part, shape in (("fc1", (inner, d)), ("fc2", (d, inner))):
        yield f"{name}.{part}.weight", shape
        yield f"{name}.{part}.bias", shape[:1]
    yield from _norm(f"{name}.final_layer_norm", d).items()
