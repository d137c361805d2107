"""When each word was said: the cross-attention of a few heads, dynamic time warping, and tokens joined into words.

The method is Whisper's own (openai/whisper `timing.py`; the heads that follow the audio are listed in a model's
generation config). The attention comes from one teacher-forced pass (`evaluation.engine.timing`). Times are seconds
from the clip's start, in steps of 0.02 s.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from typing import Any

import numpy as np
import torch

from evaluation.dtw import warp
from evaluation.transcriber import Word

MEDIAN_WIDTH = 7  # encoder positions; `median_filter_width` of every published Whisper
MOST_HEADS = 10  # the most that any published Whisper lists is 23, the median 8
NEIGHBOURHOOD = 12  # encoder positions (0.24 s) around a head's peak that count as the same sound

Heads = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class TimedTokens:
    """Text tokens with their place in the clip in seconds and their log probabilities."""

    tokens: tuple[int, ...]
    starts: tuple[float, ...]
    ends: tuple[float, ...]
    logprobs: tuple[float, ...]


def listed_heads(module: Any) -> Heads | None:
    """The alignment heads of a module's generation config as (layer, head), or None where it lists none."""
    heads = getattr(module.generation_config, "alignment_heads", None)
    return tuple((int(layer), int(head)) for layer, head in heads) if heads else None


def following_heads(weights: torch.Tensor) -> list[int]:
    """Which heads follow the audio: indices into weights[heads, tokens, positions], the best first.

    A head scores by how much of its attention lies around its peak, times how well the peaks advance with the tokens
    (their correlation); all heads with at least half of the best score are taken, at most ten.
    """
    peaks = weights.argmax(dim=-1)
    count, steps, width = weights.shape
    near = (torch.arange(width)[None, None] - peaks[..., None]).abs() <= NEIGHBOURHOOD
    focus = (weights * near).sum(-1).mean(-1)
    time = torch.arange(steps, dtype=torch.float32)
    advance = _correlation(peaks.float(), time.expand(count, -1)).clamp(min=0) if steps > 1 else torch.ones(count)
    scores = focus * advance
    order = scores.argsort(descending=True, stable=True)[:MOST_HEADS].tolist()
    return [head for head in order if scores[head] >= 0.5 * scores[order[0]]]


def _correlation(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Pearson correlation along the last axis; 0 where one side does not vary."""
    x, y = x - x.mean(-1, keepdim=True), y - y.mean(-1, keepdim=True)
    spread = (x.square().sum(-1) * y.square().sum(-1)).sqrt()
    return torch.where(spread > 0, (x * y).sum(-1) / spread.clamp(min=1e-12), 0.0)


def token_starts(weights: torch.Tensor) -> list[int]:
    """The encoder position where each token begins, from attention weights[heads, tokens, positions]."""
    spread, mean = torch.std_mean(weights, dim=-2, keepdim=True, unbiased=False)
    normal = (weights - mean) / spread.clamp(min=1e-9)
    matrix = median_filter(normal, MEDIAN_WIDTH).mean(dim=0)
    rows, columns = warp(-matrix.double().numpy())
    jumps = np.concatenate([[True], np.diff(rows) > 0])
    return [int(column) for column in columns[jumps]]


def median_filter(values: torch.Tensor, width: int) -> torch.Tensor:
    """Running median of odd `width` along the last axis, mirrored at its ends; a shorter axis is left as it is."""
    reach = width // 2
    if values.shape[-1] <= reach:
        return values
    padded = torch.nn.functional.pad(values, (reach, reach), mode="reflect")
    return padded.unfold(-1, width, 1).median(dim=-1).values


@cache
def _byte_of() -> dict[str, int]:
    """The bytes behind the printable stand-ins of byte-level BPE."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + i): byte for i, byte in enumerate(others)}


def group_words(timed: Sequence[TimedTokens], tokenizer: Any) -> tuple[Word, ...]:
    """Join tokens into words: exactly the whitespace-separated words of the text that the tokens spell.

    A token that spells the end of one word and the beginning of the next counts for both.
    """
    tokens = [token for part in timed for token in part.tokens]
    starts = [start for part in timed for start in part.starts]
    ends = [end for part in timed for end in part.ends]
    logprobs = [logprob for part in timed for logprob in part.logprobs]
    spelled = [bytes(_byte_of()[letter] for letter in tokenizer.convert_ids_to_tokens(token)) for token in tokens]
    owners = [index for index, piece in enumerate(spelled) for _ in piece]
    words = []
    for blank, run in groupby(enumerate(b"".join(spelled)), key=lambda item: chr(item[1]).isspace() and item[1] < 128):
        letters = list(run)
        if blank:
            continue
        first, last = owners[letters[0][0]], owners[letters[-1][0]]
        text = bytes(byte for _, byte in letters).decode("utf-8", errors="replace")
        mean = sum(logprobs[first : last + 1]) / (last + 1 - first)
        words.append(Word(text, starts[first], ends[last], float(np.exp(mean))))
    return tuple(words)
