"""Greedy decoding of one window on a GPU: captured passes over prompt and drafts, captured steps, few looks from the
host. Writes what `greedy.WindowDecoder` writes; also runs uncaptured on the CPU, where it is tested against it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch

from evaluation.attention import PROCESS_WIDE
from evaluation.engine.device_loop import Captured, Rows, Start, Step, plain_step, put
from evaluation.engine.drafts import Proposer
from evaluation.engine.greedy import Decoded
from evaluation.engine.model import Caches, decode_span, logits
from evaluation.engine.rules import Rules
from evaluation.engine.tensors import WhisperTensors
from evaluation.engine.turns import to_host
from merger.errors import Cancelled

STEPS_PER_LOOK = 8  # the host waits for the device once in so many tokens; at most that many are decoded in vain
STEPS_WITH_DRAFTS = 4  # a draft that broke off can mostly go on after two or three tokens
SPANS = (4, 8, 16, 32, 64, 128, 192, 256, 384)  # lengths for which a pass over several tokens is captured


class Span(NamedTuple):
    """A pass over several tokens of one text: `run` writes `scores`, float32 logits [t, vocabulary]."""

    run: Step
    scores: torch.Tensor


MakeStep = Callable[[WhisperTensors, Caches, Rows, Rules], Step]
MakeSpan = Callable[[WhisperTensors, Caches, torch.Tensor, torch.Tensor], Span]


def make_plain_step(tensors: WhisperTensors, caches: Caches, rows: Rows, rules: Rules) -> Step:
    """The plain torch step, bound to its tensors."""
    return lambda: plain_step(tensors, caches, rows, rules)


def make_plain_span(tensors: WhisperTensors, caches: Caches, tokens: torch.Tensor, first: torch.Tensor) -> Span:
    """The plain torch pass over tokens int64[1, t] at positions from `first` (int64, no dimensions) on."""
    scores = torch.zeros((tokens.shape[1], tensors.head.shape[0]), device=tensors.device)
    return Span(lambda: put(scores, logits(tensors, decode_span(tensors, caches, tokens, first)[0])), scores)


class DeviceWindowDecoder:
    """Decodes windows of one model over one set of static caches (batch 1), with `decode` as `WindowDecoder` has it.

    `stream`: where its graphs are captured, a stream that no other model uses if several are to run at the same time.
    """

    def __init__(
        self,
        tensors: WhisperTensors,
        caches: Caches,
        make_step: MakeStep = make_plain_step,
        make_span: MakeSpan = make_plain_span,
        stream: torch.cuda.Stream | None = None,
    ) -> None:
        self.tensors, self.caches, self.stream = tensors, caches, stream
        self.rows = Rows(1, tensors.target_positions, tensors.device)
        self._make_step, self._make_span = make_step, make_span
        self._pointers = tensors.pointers()
        self._pool = torch.cuda.graph_pool_handle() if tensors.device.type == "cuda" else None
        self._steps: dict[tuple[int, int], Captured] = {}  # by the identity of the rules, and how many
        self._spans: dict[int, _CapturedSpan] = {}

    def decode(
        self,
        prompt: Sequence[int],
        limit: int,
        rules: Rules,
        *,
        drafts: Sequence[Sequence[int]] = (),
        cancelled: Callable[[], bool] | None = None,
    ) -> Decoded:
        """See `WindowDecoder.decode`; `cancelled` is asked at every look.

        Raises RuntimeError if a weight has moved: the captured graphs would read what lies there now.
        """
        if self.tensors.pointers() != self._pointers:
            raise RuntimeError("weights have moved since the decoder was made")
        return _DeviceRun(self, list(prompt), limit, rules, drafts, cancelled).decode()

    def steps(self, rules: Rules, count: int) -> Captured:
        """So many steps for these rules, captured in one graph: so many launches fewer for the host."""
        if (id(rules), count) not in self._steps:
            with PROCESS_WIDE:
                self.rows.park()
                step = self._make_step(self.tensors, self.caches, self.rows, rules)

                def several() -> None:
                    for _ in range(count):
                        step()

                self._steps[id(rules), count] = Captured(several, self.tensors.device, self._pool, self.stream)
        return self._steps[id(rules), count]

    def span(self, tokens: Sequence[int], first: int) -> torch.Tensor:
        """float32 logits [len(tokens), vocabulary] of tokens at positions from `first` on."""
        room = self.tensors.target_positions - first
        length = next((size for size in SPANS if len(tokens) <= size <= room), len(tokens))
        if length not in self._spans:
            with PROCESS_WIDE:
                self._spans[length] = _CapturedSpan(self, length, self._make_span, self._pool)
        return self._spans[length](tokens, first)


class _CapturedSpan:
    """One length of pass over several tokens, with buffers that keep their addresses."""

    def __init__(self, decoder: DeviceWindowDecoder, length: int, make_span: MakeSpan, pool: Any) -> None:
        tensors = decoder.tensors
        self.length = length
        # While it is captured it writes to the last positions: what has been decoded ends before them.
        last = tensors.target_positions - length
        self.sent = torch.tensor([0] * length + [last]).to(tensors.device)
        span = make_span(tensors, decoder.caches, self.sent[None, :-1], self.sent[-1])
        self.scores = span.scores
        captured = length in SPANS
        self._run: Step = Captured(span.run, tensors.device, pool, decoder.stream) if captured else span.run

    def __call__(self, tokens: Sequence[int], first: int) -> torch.Tensor:
        self.sent.copy_(torch.tensor([*tokens, *[0] * (self.length - len(tokens)), first]), non_blocking=True)
        self._run()
        return self.scores[: len(tokens)]


class _DeviceRun:
    """One decoding."""

    def __init__(
        self,
        decoder: DeviceWindowDecoder,
        prompt: list[int],
        limit: int,
        rules: Rules,
        drafts: Sequence[Sequence[int]],
        cancelled: Callable[[], bool] | None,
    ) -> None:
        self.decoder, self.prompt, self.limit, self.rules = decoder, prompt, limit, rules
        self.proposer, self.cancelled = Proposer(drafts), cancelled
        self.steps_per_look = STEPS_WITH_DRAFTS if drafts else STEPS_PER_LOOK
        self.written: list[int] = []
        self.ended = False
        self.drafted = self.confirmed = self.passes = 0
        self.no_speech = 0.0

    def decode(self) -> Decoded:
        self._verify(self.prompt, 0, self.proposer.propose([], self.limit))
        while not self.ended and len(self.written) < self.limit:
            draft = self.proposer.propose(self.written, self.limit - len(self.written))
            if draft:
                self._verify(self.written[-1:], len(self.prompt) + len(self.written) - 1, draft)
            else:
                self._run_steps()
        return Decoded(
            tuple(self.written), self.ended, self.no_speech, self.drafted, self.confirmed, self.passes
        )

    def _poll(self) -> None:
        if self.cancelled is not None and self.cancelled():
            raise Cancelled

    def _run_steps(self) -> None:
        self._poll()
        rows, steps = self.decoder.rows, self.decoder.steps(self.rules, self.steps_per_look)
        rows.load(Start(0, self.prompt, self.rules.history(self.written), self.written, self.limit))
        while True:
            steps()
            self.passes += self.steps_per_look
            tokens, ended, done = rows.read()
            self.written, self.ended = tokens[0], ended[0]
            if done[0] or self.proposer.propose(self.written, 1):
                return
            self._poll()

    def _verify(self, known: list[int], first: int, draft: list[int]) -> None:
        self._poll()
        scores = self.decoder.span([*known, *draft], first)
        self.passes += 1
        self.drafted += len(draft)
        no_speech = self.rules.vocabulary.no_speech if first == 0 else None
        asked = [] if no_speech is None else [scores[0].softmax(dim=-1)[no_speech, None].double()]
        histories = [self.rules.history(self.written)]
        for token in draft:
            histories.append(histories[-1].after(token))
        choice = self.rules.choose(scores[len(known) - 1 :], histories)[0]
        chosen = to_host(torch.cat([*asked, choice.double()])).tolist()  # together: the host waits once
        if asked:
            self.no_speech = chosen.pop(0)
        agreed = next((i for i, token in enumerate(draft) if chosen[i] != token), len(draft))
        self.confirmed += agreed
        for token in chosen[: agreed + 1][: self.limit - len(self.written)]:
            if token == self.rules.vocabulary.end:
                self.ended = True
                break
            self.written.append(int(token))
        self.proposer.learn(len(self.written), len(draft), agreed)
