"""The layout of a Whisper model in one flat buffer.

Encoder first, then the rest, so that either half is one stretch. The query, key and value weights of an attention lie
one behind the other, and so do their biases with a gap of zeros where the key has none: a fused projection is a view.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from merger.layout import EMBEDDING, TIED_HEAD, Place, place_of

ALIGNMENT = 64  # elements: a multiple of every vector width
_PROJECTION = re.compile(r"(.*(?:self_attn|encoder_attn))\.([qkv])_proj\.(weight|bias)$")


@dataclass(frozen=True)
class Slot:
    """One tensor's place in the model and its first element in the buffer."""

    place: Place
    start: int

    @property
    def stop(self) -> int:
        """Index after the last element."""
        return self.start + self.place.size


@dataclass(frozen=True)
class FlatLayout:
    """Slots in buffer order; `size` counts elements, gaps included. `tied`: the output head is the token embedding."""

    slots: Mapping[str, Slot]
    size: int
    encoder_stop: int
    tied: bool

    @classmethod
    def of(cls, shapes: Mapping[str, tuple[int, ...]], config: Mapping[str, Any], *, tied: bool) -> FlatLayout:
        """Lay out tensors of these shapes; a tied head is left out."""
        places = [place_of(name, tuple(shape), config) for name, shape in shapes.items()]
        places = [place for place in places if not (tied and place.name == TIED_HEAD)]
        slots: dict[str, Slot] = {}
        position = encoder_stop = 0
        for stack in ("encoder", "decoder"):
            for group in _groups([place for place in places if place.stack == stack]):
                position = -(-position // ALIGNMENT) * ALIGNMENT
                for offset, place in group:
                    slots[place.name] = Slot(place, position + offset)
                last_offset, last = group[-1]
                position += last_offset + last.size
            if stack == "encoder":
                encoder_stop = position
        return cls(slots, position, encoder_stop, tied)

    def view(self, buffer: torch.Tensor, name: str) -> torch.Tensor:
        """The tensor inside a buffer of this layout, in its own shape; a tied head is the embedding."""
        slot = self.slots[EMBEDDING if self.tied and name == TIED_HEAD else name]
        return buffer[slot.start : slot.stop].view(slot.place.shape)

    def runs(self, names: list[str]) -> Iterator[tuple[int, int]]:
        """The stretches [start, stop) that these tensors cover, neighbours and the gaps between them joined."""
        wanted = set(names)
        start: int | None = None
        stop = 0
        for name, slot in self.slots.items():
            if name in wanted:
                start = slot.start if start is None else start
                stop = slot.stop
            elif start is not None:
                yield start, stop
                start = None
        if start is not None:
            yield start, stop


def _groups(places: list[Place]) -> Iterator[list[tuple[int, Place]]]:
    """Tensors that must stay together, with their offsets in elements from the group's start."""
    by_name = {place.name: place for place in places}
    done: set[str] = set()
    for place in places:
        if place.name in done:
            continue
        match = _PROJECTION.match(place.name)
        group = _attention_group(by_name, match[1], match[3]) if match else [(0, place)]
        done |= {member.name for _, member in group}
        yield group


def _attention_group(by_name: Mapping[str, Place], attention: str, kind: str) -> list[tuple[int, Place]]:
    members = {letter: by_name.get(f"{attention}.{letter}_proj.{kind}") for letter in "qkv"}
    present = [place for place in members.values() if place is not None]
    step = present[0].size
    return [(index * step, place) for index, place in enumerate(members.values()) if place is not None]
