"""Greedy decoding that stays on the device: choice, rules and bookkeeping are part of the step.

The host looks in every few steps. On a GPU the step and the passes over several tokens are captured as CUDA graphs,
with fixed addresses; the same functions run uncaptured on the CPU, which is how they are tested, and serve batches.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch

from evaluation.attention import PROCESS_WIDE
from evaluation.engine.model import Caches, decode_rows, logits
from evaluation.engine.rules import History, Rules, mask_timestamps
from evaluation.engine.tensors import WhisperTensors
from evaluation.engine.turns import wait_for

Step = Callable[[], None]

NUMBERS = ("token", "position", "written", "before", "stamp", "limit")  # of `Rows`: int64[b]
FLAGS = ("ended", "done")  # bool[b]


class Start(NamedTuple):
    """Where a row begins: after `tokens` that follow `prompt`, to write until it has `limit` of them."""

    row: int
    prompt: Sequence[int]
    history: History
    tokens: Sequence[int]
    limit: int


class Rows:
    """The state of b rows on the device, int64[b] unless said otherwise; never rebound, only written in place.

    token: the next token to be read, at `position`; the last one written, or the last of the prompt.
    written: how many tokens were written; out: int64[b, positions] those tokens. before: the last but one written.
    stamp: the last timestamp written (−1: none). limit: most tokens that are written. ended: bool[b], the end token was
    chosen; done: bool[b], that, or the limit was reached.

    They lie one behind the other in memory, so that the host reads or writes all of them in one copy.
    """

    token: torch.Tensor
    position: torch.Tensor
    written: torch.Tensor
    before: torch.Tensor
    stamp: torch.Tensor
    limit: torch.Tensor
    out: torch.Tensor
    ended: torch.Tensor
    done: torch.Tensor

    def __init__(self, batch: int, positions: int, device: torch.device) -> None:
        """Rows with nothing written."""
        self.batch, self.positions = batch, positions
        size = (len(NUMBERS) + positions) * batch * 8 + len(FLAGS) * batch
        self._bytes = torch.zeros(size, dtype=torch.uint8, device=device)
        on_host = device.type == "cpu"
        self._host_bytes = self._bytes if on_host else torch.zeros(size, dtype=torch.uint8, pin_memory=True)
        for name, view in self._views(self._bytes).items():
            setattr(self, name, view)
        self._host = {name: view.numpy() for name, view in self._views(self._host_bytes).items()}

    def _views(self, memory: torch.Tensor) -> dict[str, torch.Tensor]:
        flags = len(FLAGS) * self.batch
        numbers = memory[: len(memory) - flags].view(torch.int64)
        marks = memory[len(memory) - flags :].view(torch.bool)
        parts = torch.split(numbers, [self.batch] * len(NUMBERS) + [self.batch * self.positions])
        named = dict(zip((*NUMBERS, "out"), parts, strict=True))
        named["out"] = named["out"].view(self.batch, self.positions)
        return named | dict(zip(FLAGS, torch.split(marks, self.batch), strict=True))

    def park(self) -> None:
        """Leave all rows idle at the last position, where a step disturbs nothing."""
        self.position.fill_(self.positions - 1)
        self.done.fill_(True)

    def load(self, *starts: Start) -> None:
        """Set rows to the points where their tokens follow their prompts; the others stay as they are."""
        if self.batch > 1:
            self._fetch()  # what is written back includes the other rows
        host = self._host
        for row, prompt, history, tokens, limit in starts:
            host["token"][row] = tokens[-1] if tokens else prompt[-1]
            host["position"][row] = len(prompt) + len(tokens) - 1
            host["written"][row] = len(tokens)
            host["before"][row] = tokens[-2] if len(tokens) > 1 else -1
            host["stamp"][row] = -1 if history.last_stamp is None else history.last_stamp
            host["limit"][row] = limit
            host["out"][row, : len(tokens)] = tokens
            host["ended"][row] = False
            host["done"][row] = len(tokens) >= limit
        if self._host_bytes is not self._bytes:
            self._bytes.copy_(self._host_bytes, non_blocking=True)

    def read(self) -> tuple[list[list[int]], list[bool], list[bool]]:
        """Tokens, `ended` and `done` of every row, in one transfer to the host."""
        self._fetch()
        host = self._host
        tokens = [row[:count].tolist() for row, count in zip(host["out"], host["written"], strict=True)]
        return tokens, host["ended"].tolist(), host["done"].tolist()

    def _fetch(self) -> None:
        if self._host_bytes is not self._bytes:
            self._host_bytes.copy_(self._bytes, non_blocking=True)
            wait_for(self._bytes)


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
    """One token for every row in plain torch: the twin of our kernels and the fallback for them."""
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
