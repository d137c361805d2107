"""Greedy decoding that stays on the device: choice, rules and bookkeeping are part of the step.

The host looks in every few steps. On a GPU the step and the passes over several tokens are captured as CUDA graphs,
with fixed addresses; the same functions run uncaptured on the CPU, which is how they are tested, and serve batches.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from evaluation.attention import PROCESS_WIDE
from evaluation.engine.model import Caches, decode_rows, logits
from evaluation.engine.rules import History, Rules, mask_timestamps
from evaluation.engine.tensors import WhisperTensors

Step = Callable[[], None]


@dataclass
class Rows:
    """The state of b rows on the device, int64[b] unless said otherwise; never rebound, only written in place.

    token: the next token to be read, at `position`; the last one written, or the last of the prompt.
    written: how many tokens were written; out: int64[b, positions] those tokens. before: the last but one written.
    stamp: the last timestamp written (−1: none). ended: the end token was chosen; done: that, or the limit was reached.
    """

    token: torch.Tensor
    position: torch.Tensor
    written: torch.Tensor
    before: torch.Tensor
    stamp: torch.Tensor
    ended: torch.Tensor
    done: torch.Tensor
    limit: torch.Tensor
    out: torch.Tensor

    @classmethod
    def empty(cls, batch: int, positions: int, device: torch.device) -> Rows:
        """Rows with nothing written."""

        def numbers() -> torch.Tensor:
            return torch.zeros(batch, dtype=torch.int64, device=device)

        def flags() -> torch.Tensor:
            return torch.zeros(batch, dtype=torch.bool, device=device)

        return cls(
            token=numbers(),
            position=numbers(),
            written=numbers(),
            before=numbers(),
            stamp=numbers(),
            ended=flags(),
            done=flags(),
            limit=numbers(),
            out=torch.zeros((batch, positions), dtype=torch.int64, device=device),
        )

    def park(self) -> None:
        """Leave all rows idle at the last position, where a step disturbs nothing."""
        self.position.fill_(self.out.shape[1] - 1)
        self.done.fill_(True)

    def load(self, row: int, prompt: Sequence[int], history: History, tokens: Sequence[int], limit: int) -> None:
        """Set one row to the point where `tokens` follow `prompt`."""
        before = tokens[-2] if len(tokens) > 1 else -1
        stamp = -1 if history.last_stamp is None else history.last_stamp
        last = tokens[-1] if tokens else prompt[-1]
        numbers = [last, len(prompt) + len(tokens) - 1, len(tokens), before, stamp, limit]
        loaded = torch.tensor([*numbers, *tokens]).to(self.token.device, non_blocking=True)
        fields = (self.token, self.position, self.written, self.before, self.stamp, self.limit)
        for field, value in zip(fields, loaded[: len(fields)].unbind(), strict=True):
            field[row] = value
        self.out[row, : len(tokens)] = loaded[len(fields) :]
        self.ended[row] = False
        self.done[row] = len(tokens) >= limit

    def retire(self, row: int) -> None:
        """Leave a row idle."""
        self.done[row] = True

    def read(self) -> tuple[list[list[int]], list[bool], list[bool]]:
        """Tokens, `ended` and `done` of every row, in one transfer to the host."""
        counts = torch.stack([self.written, self.ended.long(), self.done.long()], dim=1)
        packed = torch.cat([counts, self.out], dim=1).tolist()
        return (
            [row[3 : 3 + row[0]] for row in packed],
            [bool(row[1]) for row in packed],
            [bool(row[2]) for row in packed],
        )


def demands(rows: Rows, rules: Rules) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """`History.demand` of every row: (text_from, stamps_from, last), each int64[b, 1]."""
    known = rules.vocabulary
    begin = known.timestamp_begin
    first = rows.written == 0
    last_is_stamp = ~first & (rows.token >= begin)
    before_is_stamp = (rows.written < 2) | (rows.before >= begin)
    opens_pair = last_is_stamp & ~before_is_stamp
    text_from = torch.where(opens_pair, known.end, 0)
    after_last = torch.where(rows.stamp >= 0, rows.stamp + (~opens_pair).long(), begin)
    stamps_from = torch.where(last_is_stamp & before_is_stamp, known.size, after_last)
    top = known.size - 1
    first_top = top if known.max_initial_timestamp is None else begin + known.max_initial_timestamp
    return (
        torch.where(first, begin, text_from)[:, None],
        torch.where(first, begin, stamps_from)[:, None],
        torch.where(first, first_top, top)[:, None],
    )


def advance(rows: Rows, rules: Rules, scores: torch.Tensor) -> None:
    """Choose greedily from float32 scores[b, vocabulary] (masked in place) and write the choices into the rows."""
    first = rows.written == 0
    scores += torch.where(first[:, None], rules.first_bias, rules.bias)
    if rules.timestamps:
        mask_timestamps(scores, rules.ids, rules.vocabulary.timestamp_begin, *demands(rows, rules))
    record(rows, scores.argmax(dim=-1), rules.vocabulary.end, rules.vocabulary.timestamp_begin)


def record(rows: Rows, choice: torch.Tensor, end: int, stamp_begin: int) -> None:
    """Write chosen tokens int64[b]; rows that are done stay as they are."""
    ending = ~rows.done & (choice == end)
    put = ~rows.done & ~ending
    slot = rows.written.clamp(max=rows.out.shape[1] - 1)[:, None]
    rows.out.scatter_(1, slot, torch.where(put[:, None], choice[:, None], rows.out.gather(1, slot)))
    rows.before.copy_(torch.where(put & (rows.written > 0), rows.token, rows.before))
    rows.stamp.copy_(torch.where(put & (choice >= stamp_begin), choice, rows.stamp))
    rows.token.copy_(torch.where(put, choice, rows.token))
    rows.position += put
    rows.written += put
    rows.ended |= ending
    rows.done |= ending | (rows.written >= rows.limit)


def plain_step(tensors: WhisperTensors, caches: Caches, rows: Rows, rules: Rules) -> None:
    """One token for every row in plain torch: the twin of the Triton step and the fallback for it."""
    hidden = decode_rows(tensors, caches, rows.token, rows.position, tensors.target_positions)
    advance(rows, rules, logits(tensors, hidden))


def put(target: torch.Tensor, values: torch.Tensor) -> None:
    """Write values where a captured graph expects them: a `Step` has no result."""
    target.copy_(values)


class Captured:
    """A function without arguments or results, replayed as a CUDA graph where there is one.

    What it reads and writes has to keep its address. It is run three times while it is captured, so its buffers must
    then stand where that does no harm. Graphs that never run at the same time may share a memory `pool`, and are then
    captured on the same `stream`.
    """

    def __init__(
        self, function: Step, device: torch.device, pool: Any = None, stream: torch.cuda.Stream | None = None
    ) -> None:
        self._function = function
        self._graph: torch.cuda.CUDAGraph | None = None
        if device.type == "cuda":
            with PROCESS_WIDE:
                self._graph = _capture(function, device, pool, stream)

    def __call__(self) -> None:
        """Run it."""
        if self._graph is None:
            self._function()
        else:
            self._graph.replay()


def _capture(function: Step, device: torch.device, pool: Any, stream: torch.cuda.Stream | None) -> torch.cuda.CUDAGraph:
    """Only this thread is kept from what a capture does not bear: others go on with their own streams meanwhile."""
    side = stream or torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    side.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(side):
        for _ in range(2):  # libraries choose their kernels and take their workspaces before the capture
            function()
    torch.cuda.current_stream(device).wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, pool=pool, stream=side, capture_error_mode="thread_local"):
        function()
    return graph
