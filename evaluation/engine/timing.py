"""The teacher-forced pass behind word times: a transcript is read once more, and the alignment heads are watched."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any, Protocol

import torch

from evaluation.engine.model import Caches, decode_many, encode, fill_cross, logits
from evaluation.engine.tensors import WhisperTensors, collect
from evaluation.transcriber import Clip, TranscribeOptions, Word, window_at
from evaluation.vocabulary import Vocabulary
from evaluation.windows import FRAMES_PER_POSITION, FRAMES_PER_SECOND, SECONDS_PER_POSITION, TokenSegment
from evaluation.word_times import Heads, TimedTokens, following_heads, group_words, listed_heads, token_starts


class ModuleTimer:
    """Word times for any transformers Whisper module whose weights the engine's forward pass understands."""

    def __init__(self, module: Any, tokenizer: Any, vocabulary: Vocabulary) -> None:
        self.tensors = collect(module)
        self.caches = Caches(self.tensors, batch=1)
        self.tokenizer, self.vocabulary = tokenizer, vocabulary
        self.heads = listed_heads(module)

    @torch.inference_mode()
    def words(
        self, features: torch.Tensor, pieces: Sequence[TokenSegment], clip: Clip, options: TranscribeOptions
    ) -> tuple[Word, ...]:
        """The words of the pieces; `features` is the clip's log-mel [mel_bins, frames]."""

        def hear(seek: int) -> torch.Tensor:
            return encode(self.tensors, window_at(features, seek).to(self.tensors.dtype)[None])

        return time_words(self, hear, pieces, clip, options)


class Timer(Protocol):
    """What timing needs of a model: its weights, caches for one window, tokenizer, rules and alignment heads."""

    tensors: WhisperTensors
    caches: Caches
    tokenizer: Any
    vocabulary: Vocabulary
    heads: Heads | None


def time_words(
    model: Timer,
    hear: Callable[[int], torch.Tensor],
    pieces: Sequence[TokenSegment],
    clip: Clip,
    options: TranscribeOptions,
) -> tuple[Word, ...]:
    """The words of a transcription with their times; `hear(seek)` gives the encoder output [1, 1500, d] of a window."""
    prompt = model.vocabulary.prompt(options.language, options.task, False)
    timed = []
    for seek, tokens in windows_of(pieces):
        text = model.vocabulary.text_tokens(tokens)
        if not text:
            continue
        fill_cross(model.tensors, hear(seek), model.caches)
        timed.append(
            time_tokens(
                model.tensors,
                model.caches,
                prompt,
                text,
                model.heads,
                positions=positions_in(seek, clip.seconds, model.tensors.source_positions),
                offset=seek / FRAMES_PER_SECOND,
            )
        )
    return group_words(timed, model.tokenizer)


@torch.inference_mode()
def time_tokens(
    tensors: WhisperTensors,
    caches: Caches,
    prompt: Sequence[int],
    tokens: Sequence[int],
    heads: Heads | None,
    *,
    positions: int,
    offset: float,
) -> TimedTokens:
    """Align the text tokens of the window whose cross-attention keys are in the caches.

    `prompt` is the one without timestamps; `positions` is how many encoder positions carry sound; `offset` is the
    window's start in seconds. Without `heads` the heads that follow the audio best in this very window are used.
    """
    tokens = list(tokens)[: tensors.target_positions - len(prompt)]
    first = len(prompt) - 1  # this position predicts the first text token, and attends to where it is heard
    wanted = set(heads) if heads else None
    seen: dict[tuple[int, int], torch.Tensor] = {}

    def watch(layer: int, q: torch.Tensor) -> None:
        if wanted is None and layer < len(tensors.decoder) // 2:  # early layers do not follow the audio
            return
        keys = caches.cross_kv[layer, 0, 0]
        for head in range(q.shape[1]):
            if wanted is None or (layer, head) in wanted:
                scores = (q[0, head, first:] @ keys[head].T) * q.shape[-1] ** -0.5
                seen[layer, head] = scores.float().softmax(dim=-1)[:, :positions]

    ids = torch.tensor([[*prompt, *tokens]], device=tensors.device)
    hidden = decode_many(tensors, caches, ids, 0, watch=watch)[0, first:-1]
    targets = torch.tensor(tokens, device=tensors.device)
    logprobs = logits(tensors, hidden).log_softmax(dim=-1).gather(1, targets[:, None])[:, 0].tolist()
    matrices = torch.stack([seen[pair] for pair in sorted(seen)]).cpu()
    if wanted is None:
        matrices = matrices[following_heads(matrices)]
    moments = [offset + SECONDS_PER_POSITION * start for start in token_starts(matrices)]
    return TimedTokens(tuple(tokens), tuple(moments[:-1]), tuple(moments[1:]), tuple(logprobs))


def windows_of(pieces: Sequence[TokenSegment]) -> list[tuple[int, list[int]]]:
    """(first frame, tokens) of every window that contributed text."""
    return [
        (seek, [token for piece in group for token in piece.tokens])
        for seek, group in groupby(pieces, key=lambda piece: piece.seek)
    ]


def positions_in(seek: int, seconds: float, most: int) -> int:
    """How many encoder positions of the window at frame `seek` carry sound of a clip of this length; at least one."""
    frames = int(seconds * FRAMES_PER_SECOND) - seek
    return max(1, min(most, frames // FRAMES_PER_POSITION))
