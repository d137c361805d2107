"""Greedy decoding of one window: prompt, drafts, one-token steps, end.

Every way through here writes the same tokens: those that plain greedy decoding writes. A draft only saves passes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from evaluation.engine.drafts import Proposer
from evaluation.engine.model import Caches, decode_many, logits
from evaluation.engine.rules import Rules
from evaluation.engine.tensors import WhisperTensors
from merger.errors import Cancelled


@dataclass(frozen=True)
class Decoded:
    """Tokens of one window without prompt and end token.

    finished: the model wrote its end token (False: the limit was reached).
    drafted, confirmed: how many draft tokens were offered, and how many of the written tokens came from drafts.
    passes: decoder passes that were run, the prompt's included.
    """

    tokens: tuple[int, ...]
    finished: bool
    no_speech_probability: float
    drafted: int
    confirmed: int
    passes: int


class WindowDecoder:
    """Decodes windows of one model over one set of static caches (batch 1)."""

    def __init__(self, tensors: WhisperTensors, caches: Caches) -> None:
        self.tensors = tensors
        self.caches = caches

    def decode(
        self,
        prompt: Sequence[int],
        limit: int,
        rules: Rules,
        *,
        drafts: Sequence[Sequence[int]] = (),
        cancelled: Callable[[], bool] | None = None,
    ) -> Decoded:
        """Write at most `limit` tokens for the window whose cross-attention is in the caches.

        Raises Cancelled between two passes.
        """
        return _Run(self.tensors, self.caches, prompt, limit, rules, drafts, cancelled).decode()


class _Run:
    """One decoding: what has been written, and what it took."""

    def __init__(
        self,
        tensors: WhisperTensors,
        caches: Caches,
        prompt: Sequence[int],
        limit: int,
        rules: Rules,
        drafts: Sequence[Sequence[int]],
        cancelled: Callable[[], bool] | None,
    ) -> None:
        self.tensors, self.caches, self.rules = tensors, caches, rules
        self.prompt, self.limit, self.cancelled = list(prompt), limit, cancelled
        self.proposer = Proposer(drafts)
        self.written: list[int] = []
        self.history = rules.history()
        self.finished = False
        self.drafted = self.confirmed = self.passes = 0
        self.no_speech = 0.0

    def decode(self) -> Decoded:
        self._advance(self.prompt, 0)
        while not self.finished and len(self.written) < self.limit:
            self._advance(self.written[-1:], len(self.prompt) + len(self.written) - 1)
        return Decoded(
            tuple(self.written), self.finished, self.no_speech, self.drafted, self.confirmed, self.passes
        )

    def _advance(self, known: list[int], first: int) -> None:
        """One pass over known tokens at positions from `first` on, plus a draft of what may follow them."""
        if self.cancelled is not None and self.cancelled():
            raise Cancelled
        draft = self.proposer.propose(self.written, self.limit - len(self.written))
        ids = torch.tensor([known + draft], device=self.tensors.device)
        hidden = decode_many(self.tensors, self.caches, ids, first)[0]
        self.passes += 1
        self.drafted += len(draft)
        if first == 0 and self.rules.vocabulary.no_speech is not None:
            start = logits(self.tensors, hidden[0])
            self.no_speech = float(start.softmax(dim=-1)[self.rules.vocabulary.no_speech])
        self._accept(logits(self.tensors, hidden[len(known) - 1 :]), draft)

    def _accept(self, scores: torch.Tensor, draft: list[int]) -> None:
        """Write the model's own choices as long as they follow from a confirmed draft, and one more."""
        history = self.history
        histories = [history]
        for token in draft:
            history = history.after(token)
            histories.append(history)
        chosen = self.rules.choose(scores, histories)[0].tolist()
        agreed = 0
        while agreed < len(draft) and chosen[agreed] == draft[agreed]:
            agreed += 1
        for token in chosen[: agreed + 1][: self.limit - len(self.written)]:
            if token == self.rules.vocabulary.end:
                self.finished = True
                break
            self.written.append(token)
            self.history = self.history.after(token)
        self.confirmed += agreed
        self.proposer.learn(len(self.written), len(draft), agreed)
