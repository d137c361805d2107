"""Who hears, who writes: encoder and decoder swapped between A and B.

Each clip is transcribed four times: with A's encoder and A's decoder (aa), A's encoder and B's decoder (ab), and so on.
The difference between the models, B − A, is split between the two sides as a two-player Shapley value (Shapley 1953):
the mean of what a side changes when the other is A's and when it is B's. The shares add up to the whole difference.

The cross-attention belongs to the decoder's side: it is the part of the decoder that reads what was heard.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from evaluation.manifest import Entry
from evaluation.metrics import figures, measure
from evaluation.metrics.registry import Line
from evaluation.normalize_ru import Level
from evaluation.scores import compare
from evaluation.statistics import DRAWS, SEED, Interval
from merger.bilingual import Text
from merger.checkpoint import Checkpoint
from merger.errors import Cancelled

Swap = Literal["aa", "ab", "ba", "bb"]  # encoder, decoder
SWAPS: tuple[Swap, ...] = ("aa", "ab", "ba", "bb")
STEP = 0.05  # of a suggested weight
STRONGEST = 0.7  # the guide's recommendations stay within 0.3 … 0.7


@contextmanager
def swapped(encoder_of: Any, decoder_of: Any) -> Iterator[Any]:
    """A transformers Whisper module that hears with one model's encoder and writes with the other's decoder.

    It is `decoder_of` with a borrowed encoder, which is given back at the end of the block.
    """
    own = decoder_of.model.encoder
    decoder_of.model.encoder = encoder_of.model.encoder
    try:
        yield decoder_of
    finally:
        decoder_of.model.encoder = own


@dataclass(frozen=True)
class Split:
    """The difference B − A of one figure, and how it divides. `encoder + decoder = total`, exactly."""

    figure: str
    values: dict[Swap, float]
    total: Interval
    encoder: Interval
    decoder: Interval


@dataclass(frozen=True)
class Suggestion:
    """Weights for the guide's `--encoder-weights` and `--decoder-weights`; `sure` says whether the intervals support
    them. `reason` in words."""

    encoder_weights: tuple[float, float]
    decoder_weights: tuple[float, float]
    sure: bool
    reason: Text


@dataclass(frozen=True)
class WhoReport:
    """Texts by clip and swap, the splits of WER, CER and certain case errors, and what follows for the weights."""

    texts: dict[str, dict[Swap, str]]
    splits: dict[str, Split]
    suggestion: Suggestion | None


def transcribe_swaps(
    a: Checkpoint,
    b: Checkpoint,
    clips: Sequence[Any],
    *,
    device: str = "auto",
    batch: int | None = None,
    on_progress: Callable[[Swap, int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> dict[Swap, list[str]]:
    """Texts of all clips under each swap. Raises IncompatibleModels, Cancelled."""
    from evaluation.batch import BatchTranscriber
    from evaluation.systems import processor
    from evaluation.transcriber import TranscribeOptions
    from merger.compatibility import compare as compare_models
    from merger.live import LiveMerge

    compare_models(a, b).raise_if_incompatible()
    live = LiveMerge(a, b, device=device, resident=True, cancelled=cancelled)
    texts: dict[Swap, list[str]] = {}
    try:
        for swap in SWAPS:
            ears, hand = (live.modules[name] for name in swap)
            with swapped(ears, hand) as module:
                transcriber = BatchTranscriber(module, processor(a if swap[1] == "a" else b), batch)
                found = [""] * len(clips)
                for done, (i, transcript) in enumerate(
                    transcriber.transcribe(clips, TranscribeOptions(), cancelled), 1
                ):
                    found[i] = transcript.text
                    if on_progress:
                        on_progress(swap, done)
                    if cancelled is not None and cancelled():
                        raise Cancelled
                texts[swap] = found
    finally:
        live.close()
    return texts


def analyse(entries: Sequence[Entry], texts: dict[Swap, list[str]], level: Level = "L2") -> WhoReport:
    """Split the differences. Clips without words in the reference count for nothing."""
    blocks = {block: i for i, block in enumerate(dict.fromkeys(entry.block for entry in entries))}
    index = np.array([blocks[entry.block] for entry in entries], np.int64)
    counts = {
        swap: [
            measure(Line(**vars(compare(entry.text, text, level))))
            for entry, text in zip(entries, texts[swap], strict=True)
        ]
        for swap in SWAPS
    }
    splits = {}
    for key in ("wer", "cer", "case_error_low"):
        figure = figures()[key]
        sums = {
            swap: [
                np.bincount(index, [one[name] for one in counts[swap]], minlength=len(blocks)).astype(float)
                for name in (figure.numerator, figure.denominator)
            ]
            for swap in SWAPS
        }
        if all(denominator.sum() for _, denominator in sums.values()):
            splits[key] = _split(key, sums)
    by_clip = {e.id: {swap: texts[swap][i] for swap in SWAPS} for i, e in enumerate(entries)}
    return WhoReport(by_clip, splits, suggest(splits["wer"]) if "wer" in splits else None)


def _split(key: str, sums: dict[Swap, list[npt.NDArray[np.float64]]]) -> Split:
    blocks = len(sums["aa"][0])
    weights = np.random.default_rng(SEED).multinomial(blocks, np.full(blocks, 1 / blocks), DRAWS).astype(float)
    values = {swap: float(n.sum() / d.sum()) for swap, (n, d) in sums.items()}
    with np.errstate(divide="ignore", invalid="ignore"):
        drawn = {swap: (weights @ n) / (weights @ d) for swap, (n, d) in sums.items()}

    def interval(of: Callable[[Any], Any]) -> Interval:
        spread = of(drawn)
        spread = spread[np.isfinite(spread)]
        if blocks < 2 or not len(spread):
            return Interval(float(of(values)), None, None)
        low, high = np.quantile(spread, [0.025, 0.975])
        return Interval(float(of(values)), float(low), float(high))

    return Split(
        key,
        values,
        total=interval(lambda v: v["bb"] - v["aa"]),
        encoder=interval(lambda v: ((v["ba"] - v["aa"]) + (v["bb"] - v["ab"])) / 2),
        decoder=interval(lambda v: ((v["ab"] - v["aa"]) + (v["bb"] - v["ba"])) / 2),
    )


def suggest(split: Split) -> Suggestion:
    """Give each side the more weight of the model that is better there, by how much better it is.

    A side whose interval holds 0 stays at equal weights: the data do not say whose it should be.
    """
    weights, sure = {}, []
    for side in ("encoder", "decoder"):
        interval: Interval = getattr(split, side)
        settled = interval.low is not None and interval.high is not None and (interval.low > 0 or interval.high < 0)
        sure.append(settled)
        weights[side] = _weights(interval.value, split, settled)
    verbs = {"ru": ("слышит", "пишет"), "en": ("hears", "writes")}
    reasons = {
        lang: "; ".join(_reason(weights[s], ok, verb, lang) for s, ok, verb in zip(weights, sure, said, strict=True))
        for lang, said in verbs.items()
    }
    reason = Text(f"{reasons['ru']}.", f"{reasons['en']}.")
    return Suggestion(weights["encoder"], weights["decoder"], all(sure), reason)


def _weights(points: float, split: Split, settled: bool) -> tuple[float, float]:
    """(weight of A, weight of B). `points` > 0 means that B's side makes more errors. A side that accounts for errors
    as many as half of the better model's own reaches the strongest weight."""
    if not settled:
        return 0.5, 0.5
    better = max(min(split.values["aa"], split.values["bb"]), 1e-9)
    strength = min(1.0, abs(points) / (better / 2))
    lean = round((STRONGEST - 0.5) * strength / STEP) * STEP
    a = round(0.5 + (lean if points > 0 else -lean), 2)
    return a, round(1 - a, 2)


def _reason(weights: tuple[float, float], settled: bool, verb: str, lang: str) -> str:
    if not settled:
        return {
            "ru": f"кто лучше {verb}, эти записи не показывают",
            "en": f"these clips do not show who {verb} better",
        }[lang]
    better = "A" if weights[0] > weights[1] else "B"
    if weights[0] == weights[1]:
        return {"ru": f"{verb} обе почти одинаково", "en": f"who {verb} better hardly matters"}[lang]
    return {"ru": f"{verb} лучше {better}", "en": f"{better} {verb} better"}[lang]
