"""A, the mixture and B of a new clip against one model alone: one after the other with drafts, or at the same time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from benchmarks.live_bench import Bench
from benchmarks.timing import interleaved
from evaluation.engine import together
from evaluation.engine.greedy import Decoded
from evaluation.engine.together import Way, Work
from merger.recipe import MergeRecipe

NAMES = ("a", "merged", "b")
ROUNDS = 15


@torch.inference_mode()
def three_models(bench: Bench) -> dict[str, Any]:
    """One model, and three in each of the engine's ways: medians in ms of rounds in which they alternate; the way that
    the engine's rule chooses, and its ratio to one; and the three encoders alone, in turn or at once."""
    bench.live.apply(MergeRecipe.build("direct", {"direct_alpha": 0.5}))
    alone = {name: bench.write(name).tokens for name in NAMES}
    written = {way: {name: one.tokens for name, one in do(bench).items()} for way, do in WAYS.items()}
    works: dict[str, Callable[[], object]] = {"one": lambda: bench.write("a")}
    works["encoders in turn"] = lambda: [bench.backend(name).encode(bench.window) for name in NAMES]
    works["encoders at once"] = lambda: hear_all(bench)
    works |= {way: lambda do=do: do(bench) for way, do in WAYS.items()}  # type: ignore[misc]
    taken = interleaved(works, bench.device, ROUNDS, 2)
    backends = [bench.backend(name) for name in NAMES]
    choice = together.best_way(backends)
    encoders = min(taken["encoders in turn"], taken["encoders at once"])
    return {
        "ms": taken,
        "step_reads_of_three": together.step_reads(backends),
        "choice": choice,
        "ms_chosen": taken[choice],
        "ratio": round(taken[choice] / taken["one"], 3),
        "encoders": encoders,
        "ratio_of_encoders": round(encoders / taken["one"], 3),
        "ratios": {way: round(taken[way] / taken["one"], 3) for way in WAYS},
        "same_tokens": all(found == alone for found in written.values()),
        "tokens": [len(tokens) for tokens in alone.values()],
    }


def in_turn(bench: Bench) -> dict[str, Decoded]:
    """Each with the texts of those before it as drafts, the latest first."""
    return _write(bench, {name: lambda name=name: bench.backend(name).encode(bench.window) for name in NAMES})  # type: ignore[misc]


def heard_at_once(bench: Bench) -> dict[str, Decoded]:
    """All encoders at the same time, then in turn."""
    heard = hear_all(bench)
    return _write(bench, {name: lambda name=name: heard[name] for name in NAMES})  # type: ignore[misc]


def hear_all(bench: Bench) -> dict[str, torch.Tensor]:
    """The window's encoder output by each model, all at the same time."""
    backends = {name: bench.backend(name) for name in NAMES}
    return together.run(
        {name: Work(one, lambda poll, one=one: one.encode(bench.window)) for name, one in backends.items()}  # type: ignore[misc]
    )


def at_once(bench: Bench) -> dict[str, Decoded]:
    """All at the same time, without drafts."""
    return together.run(
        {name: Work(bench.backend(name), lambda poll, name=name: bench.write(name)) for name in NAMES}  # type: ignore[misc]
    )


def _write(bench: Bench, hear: Mapping[str, Callable[[], torch.Tensor]]) -> dict[str, Decoded]:
    written: dict[str, Decoded] = {}
    drafts: list[Sequence[int]] = []
    for name in NAMES:
        written[name] = bench.decode(name, hear[name](), drafts)
        drafts.insert(0, written[name].tokens)
    return written


WAYS: dict[Way, Callable[[Bench], dict[str, Decoded]]] = {
    "in turn": in_turn, "hear at once": heard_at_once, "at once": at_once,
}  # fmt: skip
