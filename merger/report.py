"""What a merge tells while it runs and when it is done."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from merger.bilingual import Text
from merger.engine import Output
from merger.recipe import MergeRecipe

STAGES = ("checking", "merging", "syncing", "sidecars", "verifying", "committing", "committed", "done")


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a merge stands: a stage of `STAGES`, and bytes of output."""

    stage: str
    done_bytes: int
    total_bytes: int


@dataclass(frozen=True)
class MergeReport:
    """What a merge did. `requested` and `performed` are method names; they differ after a fallback."""

    folder: Path
    recipe: MergeRecipe
    requested: str
    performed: str
    warnings: list[Text]
    seconds: float
    nbytes: int
    tensors: int
    copied: int
    device: str
    angles: dict[str, float] | None = None

    def to_json(self, lang: str = "en") -> dict[str, Any]:
        """The report as JSON, its texts in one language."""
        return {
            "folder": str(self.folder),
            "requested": self.requested,
            "performed": self.performed,
            "recipe": self.recipe.to_json(),
            "digest": self.recipe.digest,
            "warnings": [warning.get(lang) for warning in self.warnings],
            "seconds": round(self.seconds, 3),
            "bytes": self.nbytes,
            "tensors": self.tensors,
            "copied_tensors": self.copied,
            "device": self.device,
            "angles": self.angles,
        }


def angles_of(output: Output) -> dict[str, float] | None:
    """Angles between A and B in radians over the tensors of a slerp: how many, least, median, largest, and how many
    tensors had none and were mixed linearly."""
    noted = [notes["angle"] for notes in output.notes.values() if "angle" in notes]
    if not noted:
        return None
    known = sorted(angle for angle in noted if not math.isnan(angle))
    described: dict[str, float] = {"tensors": len(noted), "linear": len(noted) - len(known)}
    if known:
        described |= {"least": known[0], "median": known[len(known) // 2], "largest": known[-1]}
    return described
