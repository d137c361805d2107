"""Our kernels where they can be used, suit the model and agree with their plain twins; otherwise the twins."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch

from evaluation.engine import cuda_hear, cuda_step
from evaluation.engine.batch_windows import HeardWindows, KeyedWindows, SoundMemory, Windows
from evaluation.engine.cuda_hear import Hearing
from evaluation.engine.cuda_kernels import Program, hopper, installed
from evaluation.engine.device_greedy import SPANS, MakeSpan, MakeStep, Span, make_plain_span, make_plain_step
from evaluation.engine.device_loop import Rows, Step
from evaluation.engine.model import Caches, Memory, decode_rows, logits
from evaluation.engine.rules import Rules
from evaluation.engine.tensors import WhisperTensors
from evaluation.engine.trial import first_agreeing

HEARD_FROM_ROWS = 64  # from which reading encoder outputs is faster than keys and values (docs/lab-book/live.md)
_HEARS: dict[tuple[Program, torch.device], bool] = {}


def fastest_step(tensors: WhisperTensors) -> MakeStep:
    """The step in CUDA, the one in Triton or the plain one: the first that can be had, fastest first. It is tried on
    rows that are parked, before it is captured."""
    kernels = _kernels(tensors)
    if kernels is None:
        return make_plain_step

    def make(tensors: WhisperTensors, caches: Caches, rows: Rows, rules: Rules) -> Step:
        step = _agreeing_step(kernels, _decoders(kernels, tensors, caches, rows), tensors, caches, rows, rules)
        return step or make_plain_step(tensors, caches, rows, rules)

    return make


def fastest_batch(tensors: WhisperTensors, rows: Rows, rules: Rules) -> tuple[Windows, Step]:
    """What the rows keep of their windows, and their step: for many rows the encoder's output, where the kernel for it
    can be used, otherwise keys and values."""
    count = len(rows.token)
    if hears_windows(tensors, count):
        from evaluation.engine.batch_step import BatchDecoder

        heard = HeardWindows(tensors, count)
        memory = heard.memory
        memory.heard.normal_()  # with zeros every attention would agree

        def decoder() -> BatchDecoder:
            hear = Hearing(tensors, memory.heard, memory.windows, rows.done)
            return BatchDecoder(tensors, memory, rows.token, rows.position, rows.done, hear=hear)

        candidates = [("decoder of a batch that hears encoder outputs", decoder)]
        step = _agreeing_step(_kernels(tensors), candidates, tensors, memory, rows, rules)
        if step is not None:
            return heard, step
        del heard, memory, decoder, candidates
    keyed = KeyedWindows(tensors, count)
    return keyed, fastest_step(tensors)(tensors, keyed.memory, rows, rules)


def hears_windows(tensors: WhisperTensors, rows: int) -> bool:
    """Whether a batch of so many rows keeps encoder outputs instead of keys and values: what a row takes depends on it.

    The first call for a model's shape and device tries the kernel.
    """
    return (
        hopper(tensors.device)
        and installed()
        and _kernels(tensors) is not None
        and rows >= HEARD_FROM_ROWS
        and cuda_hear.suits(tensors, rows)
        and hearing_agrees(tensors)
    )


def hearing_agrees(tensors: WhisperTensors) -> bool:
    """Whether two rows hear with the kernel what its plain twin says; why not is logged."""
    width, heads, device = tensors.width, tensors.decoder_heads, tensors.device
    key = (cuda_hear.program_for(tensors), device)
    if key not in _HEARS:
        memory, dice = SoundMemory(tensors, 2), torch.Generator(device).manual_seed(0)
        memory.heard.normal_(generator=dice)
        q = torch.empty((2, width), dtype=tensors.dtype, device=device).normal_(generator=dice)
        done, out = torch.zeros(2, dtype=torch.bool, device=device), torch.zeros_like(q)
        expected = memory.hear(0, q.view(2, heads, 1, -1)).transpose(1, 2).reshape(2, width)

        def tried(make: Callable[[], Hearing]) -> tuple[Hearing, torch.Tensor]:
            hear = make()
            hear(0, q, out)
            return hear, out

        made = ("cross-attention to encoder outputs", lambda: Hearing(tensors, memory.heard, memory.windows, done))
        _HEARS[key] = first_agreeing([made], tried, expected) is not None
    return _HEARS[key]


def _agreeing_step(
    kernels: Any,
    decoders: Iterable[tuple[str, Callable[[], Any]]],
    tensors: WhisperTensors,
    memory: Memory,
    rows: Rows,
    rules: Rules,
) -> Step | None:
    """A step with the first decoder whose logits are those of the plain one; None without one."""
    hidden = decode_rows(tensors, memory, rows.token, rows.position, tensors.target_positions)

    def tried(decoder: Callable[[], Any]) -> tuple[Step, torch.Tensor]:
        step = kernels.TritonStep(tensors, decoder(), rows, rules)
        done = rows.done.clone()
        rows.done.fill_(False)  # a batch leaves out rows that are done, and parked rows are
        try:
            step.decoder.forward()
        finally:
            rows.done.copy_(done)
        return step, step.scores

    step: Step | None = first_agreeing(decoders, tried, logits(tensors, hidden))
    return step


def _decoders(
    kernels: Any, tensors: WhisperTensors, caches: Caches, rows: Rows
) -> Iterator[tuple[str, Callable[[], Any]]]:
    """What can write the logits of a step, fastest first."""
    given = (tensors, caches, rows.token, rows.position)
    if len(rows.token) > kernels.MOST_ROWS:
        from evaluation.engine.batch_step import BatchDecoder

        yield "decoder of a batch", lambda: BatchDecoder(*given, rows.done)
        return
    if _in_cuda(tensors, caches):
        yield "CUDA decoder", lambda: cuda_step.CudaDecoder(*given)
    yield "Triton decoder", lambda: kernels.TritonDecoder(*given, dependent_launch=hopper(tensors.device))


def fastest_span(tensors: WhisperTensors) -> MakeSpan:
    """The pass over a few tokens of one text in CUDA or in Triton, or the plain one; longer ones are plain, and faster
    so."""
    kernels = _kernels(tensors)
    if kernels is None:
        return make_plain_span

    def make(tensors: WhisperTensors, caches: Caches, tokens: torch.Tensor, first: torch.Tensor) -> Span:
        plain = make_plain_span(tensors, caches, tokens, first)

        def tried(span: Callable[[], Span]) -> tuple[Span, torch.Tensor]:
            made = span()
            plain.run()
            made.run()
            return made, made.scores

        span: Span | None = first_agreeing(_spans(kernels, tensors, caches, tokens[0], first), tried, plain.scores)
        return span or plain

    return make


def _spans(
    kernels: Any, tensors: WhisperTensors, caches: Caches, tokens: torch.Tensor, first: torch.Tensor
) -> Iterator[tuple[str, Callable[[], Span]]]:
    """Passes over tokens int64[t] of one text from position `first` on, fastest first."""
    count = len(tokens)
    if count not in SPANS:  # near a text's last position: such a pass is not captured either
        return
    if _in_cuda(tensors, caches) and count <= cuda_step.MOST_TOKENS:

        def in_cuda() -> Span:
            decoder = cuda_step.CudaDecoder(tensors, caches, tokens, first)
            return Span(decoder.forward, decoder.scores)

        yield "CUDA pass over a few tokens", in_cuda
    if count <= kernels.MOST_ROWS:

        def in_triton() -> Span:
            ahead = torch.arange(count, device=tokens.device)
            places = first + ahead
            launch = hopper(tensors.device)
            decoder = kernels.TritonDecoder(tensors, caches, tokens, places, span=True, dependent_launch=launch)

            def run() -> None:
                torch.add(first, ahead, out=places)
                decoder.forward()

            return Span(run, decoder.scores)

        yield "Triton pass over a few tokens", in_triton


def _kernels(tensors: WhisperTensors) -> Any:
    try:
        from evaluation.engine import triton_step
    except ImportError:
        return None
    return triton_step if triton_step.suits(tensors) else None


def _in_cuda(tensors: WhisperTensors, caches: Caches) -> bool:
    """Whether the decoder in CUDA is worth a try."""
    return hopper(tensors.device) and installed() and cuda_step.suits(tensors, caches)
