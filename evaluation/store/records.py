"""The rows as the program sees them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Side = Literal["a", "merged", "b", "base"]
JobState = Literal["queued", "running", "done", "failed", "cancelled"]


@dataclass(frozen=True)
class StoredTranscript:
    """One side of an experiment; `detail` is free JSON (word times, segments, badges)."""

    text: str
    seconds_wall: float | None = None
    generation: int | None = None
    wer: float | None = None
    cer: float | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class StoredClip:
    sha256: str
    name: str
    seconds: float


@dataclass(frozen=True)
class Experiment:
    """A recipe, applied to sources, heard on a clip. `sources` maps "a", "b", "base" to {"name", "fingerprint", …}."""

    id: str
    created: float  # Unix seconds
    recipe: dict[str, Any]
    digest: str
    sources: dict[str, Any]
    clip: StoredClip | None
    reference: str | None
    normalizer: str | None
    note: str
    starred: bool
    transcripts: dict[str, StoredTranscript]


@dataclass(frozen=True)
class Vote:
    """A blind choice between two named candidates; `choice`: "left", "right", "tie" or "both_bad".

    One ballot over three texts says something about several pairs: these share a `ballot`; None: it stands alone.
    """

    clip: str
    left_name: str
    right_name: str
    choice: Literal["left", "right", "tie", "both_bad"]
    seconds: float | None = None
    ballot: str | None = None


@dataclass(frozen=True)
class Job:
    id: str
    owner: str
    created: float
    updated: float
    kind: str
    state: JobState
    payload: dict[str, Any]
    result: dict[str, Any] | None
    error: dict[str, Any] | None
    attempts: int = 0  # how often it was begun and not put back; a job that ends servers is not begun for ever
