"""Where a tensor sits in a Whisper model: component, block, tied head."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from typing import Any, Literal

from merger.bilingual import Text

Component = Literal["encoder", "decoder", "cross_attention", "embeddings"]
COMPONENTS: dict[Component, Text] = {
    "encoder": Text("Слышит (кодировщик)", "Hears (encoder)"),
    "decoder": Text("Пишет (декодер)", "Writes (decoder)"),
    "cross_attention": Text("Связь слуха и письма (cross-attention)", "Link of hearing and writing (cross-attention)"),
    "embeddings": Text("Словарь и позиции (embeddings)", "Vocabulary and positions (embeddings)"),
}
EMBEDDING = "model.decoder.embed_tokens.weight"
TIED_HEAD = "proj_out.weight"  # the output head: normally not stored, it is the token embedding itself

_BLOCK = re.compile(r"\.layers\.(\d+)\.")
_EMBEDDING = re.compile(r"\.embed_(tokens|positions)\.weight$")


@dataclass(frozen=True, slots=True)
class Place:
    """One tensor's place: `stack` is where it runs, `component` what it is, `depth` how deep in its stack.

    `depth` is 0 at the input side and 1 at the output side of the stack; block i of n lies at i / (n − 1).
    """

    name: str
    shape: tuple[int, ...]
    stack: Literal["encoder", "decoder"]
    component: Component
    block: int | None
    depth: float

    @property
    def size(self) -> int:
        """Number of elements."""
        return prod(self.shape)

    @property
    def rows(self) -> int:
        """Output neurons: the first dimension of a matrix or convolution; a vector is one row."""
        return self.shape[0] if len(self.shape) > 1 else 1

    def lineage(self) -> tuple[Component, ...]:
        """The component and what it inherits from, the most particular first."""
        return (self.component,) if self.component == self.stack else (self.component, self.stack)


def place_of(name: str, shape: tuple[int, ...], config: Mapping[str, Any]) -> Place:
    """The place of tensor `name`; the numbers of layers are read from the model's config."""
    layers = (int(config.get("encoder_layers") or 0), int(config.get("decoder_layers") or 0))
    return _place(name, tuple(shape), *layers)


@lru_cache(maxsize=8192)
def _place(name: str, shape: tuple[int, ...], encoder_layers: int, decoder_layers: int) -> Place:
    stack: Literal["encoder", "decoder"] = (
        "encoder" if name.startswith(("model.encoder.", "encoder.")) else "decoder"
    )
    component: Component = stack
    if _EMBEDDING.search(name) or name == TIED_HEAD:
        component = "embeddings"
    elif ".encoder_attn" in name:
        component = "cross_attention"
    match = _BLOCK.search(name)
    block = int(match.group(1)) if match else None
    if block is not None:
        last = (encoder_layers if stack == "encoder" else decoder_layers) - 1
        depth = block / last if last > 0 else 0.0
    else:
        # The stack's closing norm stands behind the last block; convolutions and embeddings stand before the first.
        depth = 1.0 if ".layer_norm." in name else 0.0
    return Place(name, shape, stack, component, block, min(depth, 1.0))
