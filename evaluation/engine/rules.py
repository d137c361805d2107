"""Which tokens may come next: suppression and timestamp rules, then the greedy choice.

The rules are those of transformers' `SuppressTokens…` and `WhisperTimeStampLogitsProcessor` (Radford et al. 2022,
arXiv:2212.04356, §4.5). What the timestamp rules demand of one position is three numbers, so the same masking serves
one row, a batch of rows and the many positions of a draft.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch

from evaluation.vocabulary import Vocabulary

NEVER = float("-inf")


@dataclass(frozen=True)
class Demand:
    """What the tokens written so far demand of the next one.

    text_from: tokens below this id are forbidden (0: none).
    stamps_from: timestamps below this id are forbidden.
    last: tokens above this id are forbidden.
    """

    text_from: int
    stamps_from: int
    last: int


@dataclass(frozen=True)
class History:
    """The part of the written tokens that the timestamp rules look at."""

    begin: int  # id of <|0.00|>
    end: int
    size: int
    max_initial: int | None
    written: int = 0
    last_is_stamp: bool = False
    before_is_stamp: bool = True  # as if a timestamp stood before the first token
    last_stamp: int | None = None

    def after(self, token: int) -> History:
        """The history once `token` is written too."""
        stamp = token >= self.begin
        return replace(
            self,
            written=self.written + 1,
            last_is_stamp=stamp,
            before_is_stamp=self.last_is_stamp if self.written else True,
            last_stamp=token if stamp else self.last_stamp,
        )

    def demand(self) -> Demand:
        """What may follow: timestamps come in pairs (except before the end token), never decrease, and the first
        token is one of the first `max_initial` timestamps."""
        if not self.written:
            last = self.size - 1 if self.max_initial is None else self.begin + self.max_initial
            return Demand(self.begin, self.begin, last)
        text_from, stamps_from = 0, self.begin
        paired = self.last_is_stamp and self.before_is_stamp
        if self.last_is_stamp and not self.before_is_stamp:
            text_from = self.end
        if self.last_stamp is not None:
            opens_pair = self.last_is_stamp and not self.before_is_stamp
            stamps_from = self.last_stamp + (0 if opens_pair else 1)
        return Demand(text_from, self.size if paired else stamps_from, self.size - 1)


@dataclass
class Rules:
    """The rules of one model for one way of decoding, with their masks on the device.

    `bias` is float32[vocabulary], 0 or −inf: the tokens that are always suppressed; `first_bias` for the first token.
    """

    vocabulary: Vocabulary
    timestamps: bool
    device: torch.device
    bias: torch.Tensor = field(init=False)
    first_bias: torch.Tensor = field(init=False)
    ids: torch.Tensor = field(init=False)

    def __post_init__(self) -> None:
        size = self.vocabulary.size
        self.bias = torch.zeros(size, device=self.device)
        suppressed = list(self.vocabulary.suppress)
        if self.timestamps and self.vocabulary.no_timestamps is not None:
            suppressed.append(self.vocabulary.no_timestamps)
        self.bias[suppressed] = NEVER
        self.first_bias = self.bias.clone()
        self.first_bias[list(self.vocabulary.begin_suppress)] = NEVER
        self.ids = torch.arange(size, device=self.device)

    def history(self, written: Sequence[int] = ()) -> History:
        """The history once these tokens are written after the prompt."""
        known = self.vocabulary
        history = History(known.timestamp_begin, known.end, known.size, known.max_initial_timestamp)
        for token in written:
            history = history.after(token)
        return history

    def choose(
        self, scores: torch.Tensor, histories: Sequence[History], *, want_margins: bool = False
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Greedy choice of each row of float32 scores[n, vocabulary], which are masked in place; row i has written
        histories[i]. Returns int64[n] and, if wanted, how far each choice is from another one: float32[n], in logits.
        """
        scores += self._biases(histories)
        rival = None
        if self.timestamps:
            demands = torch.tensor([[d.text_from, d.stamps_from, d.last] for d in (h.demand() for h in histories)])
            text_from, stamps_from, last = demands.to(self.device, non_blocking=True).unsqueeze(-1).unbind(1)
            rival = mask_timestamps(scores, self.ids, self.vocabulary.timestamp_begin, text_from, stamps_from, last)
        if not want_margins:
            return scores.argmax(dim=-1), None
        top, choice = scores.topk(2, dim=-1)
        margin = top[:, 0] - top[:, 1]
        if rival is not None:
            margin = torch.minimum(margin, rival.abs().nan_to_num(nan=torch.inf))
        return choice[:, 0], margin

    def _biases(self, histories: Sequence[History]) -> torch.Tensor:
        firsts = [not history.written for history in histories]
        if not any(firsts):
            return self.bias
        return torch.stack([self.first_bias if first else self.bias for first in firsts])


def mask_timestamps(
    scores: torch.Tensor,
    ids: torch.Tensor,
    begin: int,
    text_from: torch.Tensor,
    stamps_from: torch.Tensor,
    last: torch.Tensor,
) -> torch.Tensor:
    """Apply demands (each int64[n, 1]) to scores[n, vocabulary] in place; then, where all timestamps together are more
    probable than every single other token, forbid the others. Returns that comparison's margin: float32[n]."""
    forbidden = (ids < text_from) | ((ids >= begin) & (ids < stamps_from)) | (ids > last)
    scores.masked_fill_(forbidden, NEVER)
    rival = scores[:, begin:].logsumexp(dim=-1) - scores[:, :begin].amax(dim=-1)
    scores[:, :begin].masked_fill_((rival > 0)[:, None], NEVER)
    return rival
