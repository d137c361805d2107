"""A clip heard by A, the merge and B: transcripts, shared word slots, scores. Runs on the worker's device thread only.

A transcript is kept by what it depends on (weights, clip, options), so a slider move listens once, not three times, and
a mixture that was tried before comes back at once.
"""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from evaluation.align import align_three
from evaluation.audio import AudioClip
from evaluation.metrics.hallucination import signs
from evaluation.scores import agreement, score_pair
from evaluation.transcriber import Transcript
from merger.recipe import MergeRecipe
from ui.errors import bilingual
from ui.executor import Applied, OnDevice, Poll
from ui.models import taking_part

SIDES = ("a", "merged", "b")
KEPT_TRANSCRIPTS = 4000


@dataclass(frozen=True)
class Mixture:
    """What identifies a merged model: the recipe and the bytes it is made of."""

    recipe: MergeRecipe
    fingerprints: Mapping[str, str]

    @property
    def key(self) -> str:
        mixed = taking_part(self.recipe, self.fingerprints)
        marks = (f"{role}={mark}" for role, mark in sorted(mixed.items()))
        identity = "|".join([self.recipe.digest, *marks])
        return hashlib.sha256(identity.encode()).hexdigest()[:24]


class Memory:
    """Transcripts by (weights, clip); the longest unused is forgotten first."""

    def __init__(self, kept: int = KEPT_TRANSCRIPTS) -> None:
        self._kept = kept
        self._known: OrderedDict[tuple[str, str], tuple[Transcript, dict[str, Any]]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, weights: str, clip: str) -> tuple[Transcript, dict[str, Any]] | None:
        with self._lock:
            found = self._known.get((weights, clip))
            if found is not None:
                self._known.move_to_end((weights, clip))
            return found

    def put(self, weights: str, clip: str, transcript: Transcript, merge: dict[str, Any]) -> None:
        with self._lock:
            self._known[weights, clip] = (transcript, merge)
            while len(self._known) > self._kept:
                self._known.popitem(last=False)


@dataclass
class Heard:
    """One side of a comparison, and how its weights came about (`merge`: seconds, performed, warnings)."""

    transcript: Transcript
    merge: dict[str, Any]
    cached: bool


class Listener:
    """Lets the three models of a pair hear a clip, asking the memory first."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    def known(self, mixture: Mixture, clip: AudioClip) -> list[str]:
        """The sides that need no listening any more."""
        return [side for side in SIDES if self._memory.get(self._weights(side, mixture), clip.sha256)]

    def hear(self, side: str, pair: OnDevice, mixture: Mixture, clip: AudioClip, cancelled: Poll) -> Heard:
        """One side's transcript. For "merged" the requester's recipe is applied first, whoever's was in force.

        Raises Cancelled.
        """
        weights = self._weights(side, mixture)
        if known := self._memory.get(weights, clip.sha256):
            return Heard(*known, cached=True)
        # A device whose every call has a price is asked once for everything that is not known yet.
        sides = [side, *(one for one in SIDES if one != side and one not in self.known(mixture, clip))]
        written = pair.hear(mixture.recipe, sides if pair.whole else [side], clip, cancelled)
        for one, what in written.items():
            self._memory.put(self._weights(one, mixture), clip.sha256, what.transcript, _told(what.applied))
        return Heard(written[side].transcript, _told(written[side].applied), cached=False)

    def order(self, mixture: Mixture, clip: AudioClip) -> Iterator[str]:
        """What is known first, so that the page shows it at once; then the merge, which is what was asked for."""
        known = self.known(mixture, clip)
        yield from known
        yield from (side for side in ("merged", "a", "b") if side not in known)

    def _weights(self, side: str, mixture: Mixture) -> str:
        return mixture.key if side == "merged" else mixture.fingerprints[side]


def _told(applied: Applied | None) -> dict[str, Any]:
    if applied is None:
        return {}
    return {
        "seconds": applied.seconds,
        "performed": applied.performed,
        "warnings": [bilingual(one) for one in applied.warnings],
    }


def words_of(transcript: Transcript) -> list[dict[str, Any]]:
    """Words as the page draws them: `t` text, `s` and `e` seconds, `p` certainty. A silent clip has none."""
    return [
        {"t": word.text.strip(), "s": round(word.start, 2), "e": round(word.end, 2), "p": round(word.probability, 2)}
        for word in transcript.words or ()
        if word.text.strip()
    ]


def side_json(heard: Heard, reference: str | None) -> dict[str, Any]:
    """One column: text, words, time and, with a reference, WER and CER (fractions)."""
    transcript = heard.transcript
    score = score_pair(reference, transcript.text) if reference else None
    return {
        "text": transcript.text,
        "words": words_of(transcript),
        "seconds": round(transcript.seconds_wall, 4),
        "rtfx": round(transcript.rtfx, 2),
        "cached": heard.cached,
        "wer": score.wer if score else None,
        "cer": score.cer if score else None,
        "badges": [{"title": bilingual(sign.title), "evidence": sign.evidence} for sign in signs(transcript.text)],
        **({"merge": heard.merge} if heard.merge else {}),
    }


def scored(result: dict[str, Any], reference: str | None) -> dict[str, Any]:
    """A result with the scores of another reference; its sides may still be incomplete."""
    if result["reference"] == reference:
        return result
    found = {**result, "reference": reference}
    for side in SIDES:
        if side in result:
            score = score_pair(reference, result[side]["text"]) if reference else None
            found[side] = {**result[side], "wer": score.wer if score else None, "cer": score.cer if score else None}
    return found


def with_slots(sides: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Shared word slots of three finished columns, and how far they agree. Indices point into each column's words."""
    slots = align_three(*([word["t"] for word in sides[side]["words"]] for side in SIDES))
    shares = agreement(slots)
    return {
        "slots": [
            {
                "a": slot.a_index, "merged": slot.merged_index, "b": slot.b_index,
                "am": slot.a_equals_merged, "bm": slot.b_equals_merged, "same": slot.unanimous,
            }
            for slot in slots
        ],
        "agreement": {"a": shares.a_merged, "b": shares.merged_b, "a_b": shares.a_b},
    }  # fmt: skip
