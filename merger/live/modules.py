"""transformers Whisper modules whose parameters are views of a flat buffer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from merger.layout import TIED_HEAD
from merger.live.flat import FlatLayout


def build_module(config: Mapping[str, Any], folder: Path, layout: FlatLayout, buffer: torch.Tensor) -> Any:
    """A `WhisperForConditionalGeneration` in eval mode over `buffer`: no second copy of the weights is ever made.

    Its generation config is the checkpoint's own if the folder has one, else derived from the model config.
    """
    from transformers import GenerationConfig, WhisperConfig, WhisperForConditionalGeneration

    settings = WhisperConfig.from_dict({**config, "dtype": str(buffer.dtype).removeprefix("torch.")})
    with torch.device("meta"):
        module = WhisperForConditionalGeneration(settings)
    weights = {name: layout.view(buffer, name) for name in layout.slots}
    if layout.tied:
        weights[TIED_HEAD] = layout.view(buffer, TIED_HEAD)
    module.load_state_dict(weights, strict=True, assign=True)
    if layout.tied:  # load_state_dict(assign=True) made two Parameters over one storage
        module.proj_out.weight = module.model.decoder.embed_tokens.weight
    module.requires_grad_(False).eval()
    if (folder / "generation_config.json").is_file():
        text = (folder / "generation_config.json").read_text(encoding="utf-8")
        module.generation_config = GenerationConfig.from_dict(json.loads(text))
    return module


def pointers(module: Any) -> tuple[int, ...]:
    """Addresses of all parameters."""
    return tuple(parameter.data_ptr() for parameter in module.parameters())
