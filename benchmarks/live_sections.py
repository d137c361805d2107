"""The sections of `benchmarks.live` that measure the engine's own parts beside their floors; each returns figures."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch

from benchmarks.live_bench import GUIDE, Bench
from benchmarks.timing import bytes_per_second, milliseconds, percentiles
from evaluation.engine.backend import CudaBackend
from evaluation.engine.device_greedy import MakeStep, make_plain_step
from evaluation.engine.device_loop import Captured, Rows, Start
from evaluation.engine.greedy import Decoded
from evaluation.engine.model import Caches, fill_cross
from evaluation.engine.tensors import collect
from evaluation.features import log_mel
from merger.live import LiveMerge
from merger.recipe import MergeRecipe


@torch.inference_mode()
def merge(bench: Bench) -> dict[str, Any]:
    """apply() of the guide's methods against one flat lerp over the same buffers; prepare(); equality of both paths."""
    live, device = bench.live, bench.device
    a, b = live._sources
    out = torch.empty_like(live.mixture.buffer)
    floor = milliseconds(lambda: torch.lerp(a, b, 0.3, out=out), device)
    found: dict[str, Any] = {
        "elements": live.layout.size, "tensors": len(live.layout.slots), "dtype": str(live.dtype),
        "device_bytes": live.nbytes, "load_s": round(bench.load_seconds, 3), "flat_lerp_floor": floor,
        "kernel": live.mixture.kernel is not None,
    }  # fmt: skip
    for method in GUIDE:
        prepared = live.prepare(method)
        apply = bench.applier(method)
        taken = percentiles(apply, device)
        found[method] = {"prepare_s": round(prepared, 4), **taken, "ratio_to_floor": round(taken["p50"] / floor, 3)}
        if live.mixture.kernel is not None:
            found[method]["kernel_equals_plain"] = _kernel_equals_plain(live, apply)
    found["plain_direct"] = _without_kernel(live, lambda: milliseconds(bench.applier("direct"), device, 3, 1))
    apply = bench.applier("direct")
    weights = [{"decoder_weights": (0.4, 0.6)}, {"decoder_weights": (0.3, 0.7)}]
    recipes = [MergeRecipe.build("ties", {"ties_density": 0.8, **chosen}) for chosen in weights]
    apply()
    live.apply(recipes[0])
    turn = iter(range(1000))
    found["ties_decoder_only"] = milliseconds(lambda: live.apply(recipes[next(turn) % 2]), device)
    return found


def _without_kernel(live: LiveMerge, work: Callable[[], Any]) -> Any:
    kernel, live.mixture.kernel = live.mixture.kernel, None
    try:
        return work()
    finally:
        live.mixture.kernel = kernel


def _kernel_equals_plain(live: LiveMerge, apply: Callable[[], None]) -> bool:
    apply()
    by_kernel = live.mixture.buffer.clone()
    recipe = live.recipe
    live.mixture.forget()
    _without_kernel(live, lambda: live.apply(recipe))
    live._write(live._plans, None)
    bits = {2: torch.int16, 4: torch.int32}[by_kernel.element_size()]
    return torch.equal(by_kernel.view(bits), live.mixture.buffer.view(bits))


@torch.inference_mode()
def parts(bench: Bench) -> dict[str, Any]:
    """Log-mel, encoder, cross keys, verify passes and the one-token step, the last against the floor of bytes."""
    device, module = bench.device, bench.live.modules["merged"]
    backend, tensors = bench.backend(), collect(module)
    heard = backend.encode(bench.window)
    first = bench.decode("merged", heard)
    draft = (list(first.tokens) * 4)[:252] or [0] * 252
    found: dict[str, Any] = {
        "log_mel_ms": milliseconds(
            lambda: log_mel(bench.clip.samples, module.config.num_mel_bins, device=device), device
        ),
        "encoder": milliseconds(lambda: backend.encode(bench.window), device),
        "encoder_transformers": milliseconds(lambda: module.model.encoder(bench.window[None]), device, 7, 1),
        "cross_keys": milliseconds(lambda: fill_cross(tensors, heard[None], backend.caches), device),
    }
    if isinstance(backend, CudaBackend):
        decoder = backend._decoder
        for length in (4, 8, 16, 132, 256):
            tokens = [*bench.prompt, *draft][:length]
            found[f"verify_{length}"] = milliseconds(lambda tokens=tokens: decoder.span(tokens, 0), device)
        found["fused_qkv"] = tensors.decoder[0].attn.fused is not None
    floor = step_floor(bench)
    found["step_floor_of_bytes"] = round(floor, 4)
    for name, milliseconds_per_step in steps(bench).items():
        found[f"step_{name}"] = milliseconds_per_step
        if isinstance(milliseconds_per_step, float) and not name.endswith("capture_s"):
            found[f"step_{name}_ratio"] = round(milliseconds_per_step / floor, 2)
    return found


def step_floor(bench: Bench) -> float:
    """Milliseconds to read, at the memory's speed, what one token reads: decoder weights, cross keys and values."""
    tensors = collect(bench.live.modules["merged"])
    return 1e3 * (tensors.decoder_step_nbytes() + tensors.cross_nbytes()) / bytes_per_second(bench.device)


def steps(bench: Bench, count: int = 64) -> dict[str, Any]:
    """Milliseconds per token of the one-token step: eager on the CPU; on a GPU plain torch captured, and Triton."""
    if bench.device.type == "cpu":
        heard = bench.backend().encode(bench.window)
        bench.decode("merged", heard)
        decoded = bench.decode("merged", heard)
        taken = milliseconds(lambda: bench.decode("merged", heard), bench.device, 5, 1)
        return {"eager_with_choice": round(taken / max(decoded.passes, 1), 4), "tokens": len(decoded.tokens)}
    tensors = collect(bench.live.modules["merged"])
    found: dict[str, Any] = {}
    makers: dict[str, MakeStep] = {"plain": make_plain_step}
    try:
        from evaluation.engine.cuda_step import CudaDecoder
        from evaluation.engine.triton_step import TritonDecoder, TritonStep
    except ImportError as error:
        found["triton"] = f"unavailable: {error}"
    else:

        def stepper(decoder: Any, **settings: Any) -> MakeStep:
            return lambda tensors, caches, rows, rules: TritonStep(
                tensors, decoder(tensors, caches, rows.token, rows.position, **settings), rows, rules
            )

        makers["cuda"] = stepper(CudaDecoder)
        makers["triton"] = stepper(TritonDecoder)
        makers["triton_no_pdl"] = stepper(TritonDecoder, dependent_launch=False)
    for name, make in makers.items():
        caches, rows = Caches(tensors, 1), Rows(1, tensors.target_positions, bench.device)
        fill_cross(tensors, bench.backend().encode(bench.window)[None], caches)
        rows.park()
        began = time.perf_counter()
        try:
            step = Captured(make(tensors, caches, rows, bench.rules), bench.device)
        except Exception as error:
            found[name] = f"{type(error).__name__}: {error}"[:200]
            continue
        found[f"{name}_capture_s"] = round(time.perf_counter() - began, 2)
        rows.load(Start(0, bench.prompt, bench.rules.history(), [], 440))

        def many(step: Captured = step) -> None:
            for _ in range(count):
                step()

        found[name] = round(milliseconds(many, bench.device, 5, 1) / count, 4)
        rows.load(Start(0, bench.prompt, bench.rules.history(), [], 40))
        for _ in range(40):
            step()
        found[f"{name}_tokens"] = hash(tuple(rows.read()[0][0]))
    return found


def corrupted(tokens: Sequence[int], acceptance: float, seed: int = 0) -> list[int]:
    """Tokens of which about a share of `acceptance` is right; the wrong ones are spread at random."""
    chance = random.Random(seed)
    return [token if chance.random() < acceptance else (token + 7) % 1000 for token in tokens]


@torch.inference_mode()
def slider(bench: Bench) -> dict[str, Any]:
    """From a slider move to the new transcript of the window: merge, encode, verify a draft of given quality, go on."""
    recipes = [MergeRecipe.build("slerp", {"slerp_t": t}) for t in (0.45, 0.5)]
    truths = []
    for recipe in recipes:
        bench.live.apply(recipe)
        truths.append(bench.write().tokens)
    found: dict[str, Any] = {"tokens": [len(truth) for truth in truths]}
    offers: dict[str, list[list[int]]] = {
        f"accept_{round(100 * share)}": [corrupted(truth, share) for truth in truths] for share in (1.0, 0.9, 0.5, 0.0)
    }
    offers["previous_mixture"] = [list(truths[1]), list(truths[0])]
    for name, drafts in offers.items():
        turn = [0]
        last: list[Decoded] = []

        def move(drafts: list[list[int]] = drafts, turn: list[int] = turn, last: list[Decoded] = last) -> None:
            bench.live.apply(recipes[turn[0] % 2])
            last[:] = [bench.write(drafts=[drafts[turn[0] % 2]])]
            turn[0] += 1

        taken = percentiles(move, bench.device, 12 if bench.device.type == "cuda" else 7, 2)
        same = last[0].tokens == truths[(turn[0] - 1) % 2]
        found[name] = {**taken, "acceptance": round(last[0].confirmed / max(len(last[0].tokens), 1), 3),
                       "passes": last[0].passes, "same_tokens": same}  # fmt: skip
    bench.live.apply(recipes[0])
    heard = bench.backend().encode(bench.window)
    found["encoder_kept_accept_100"] = milliseconds(lambda: bench.decode("merged", heard, [truths[0]]), bench.device)
    return found
