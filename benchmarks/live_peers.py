"""The sections of `benchmarks.live` that set the engine against its peers of the same run."""

from __future__ import annotations

import copy
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch

from benchmarks.live_bench import Bench
from benchmarks.timing import interleaved, milliseconds, synchronize
from merger.recipe import MergeRecipe


def _generate(bench: Bench, module: Any, **settings: Any) -> Callable[[], list[int]]:
    configured = bench.vocabulary.generation_config(module)
    configured.language, configured.task = "<|ru|>", "transcribe"
    configured.suppress_tokens = list(bench.vocabulary.suppress)
    configured.begin_suppress_tokens = list(bench.vocabulary.begin_suppress)
    configured.max_length, configured.num_beams, configured.do_sample = bench.limit, 1, False
    for key, value in settings.items():
        setattr(configured, key, value)
    features = bench.window[None]

    def generate() -> list[int]:
        output = module.generate(features, generation_config=copy.deepcopy(configured), return_timestamps=False)
        tokens = output[0].tolist()
        prompt = len(bench.prompt) if tokens[: len(bench.prompt)] == bench.prompt else 0
        return [token for token in tokens[prompt:] if token != bench.vocabulary.end]

    return generate


@torch.inference_mode()
def transformers_default(bench: Bench) -> dict[str, Any]:
    """The same window by `generate` with its default cache, by the engine without any draft, and a whole slider move
    (merge, encode, verify the transcript before), in turn."""
    generate = _generate(bench, bench.live.modules["merged"])
    recipes = [MergeRecipe.build("slerp", {"slerp_t": t}) for t in (0.45, 0.5)]
    written: dict[str, list[int]] = {}
    last: list[Sequence[int]] = []
    turn = [0]

    def by_generate() -> None:
        written["generate"] = generate()

    def by_engine() -> None:
        written["engine"] = list(bench.write().tokens)

    def move_slider() -> None:
        bench.live.apply(recipes[turn[0] % 2])
        turn[0] += 1
        last[:] = [bench.write(drafts=last).tokens]

    works = {"slider_to_transcript": move_slider, "engine_without_draft": by_engine, "generate": by_generate}
    taken = interleaved(works, bench.device, 2 if bench.device.type == "cuda" else 9)
    theirs = taken["generate"]
    return {
        **taken,
        "speedup_without_draft": round(theirs / taken["engine_without_draft"], 2),
        "slider_share_of_generate": round(taken["slider_to_transcript"] / theirs, 3),
        "tokens": len(written["engine"]),
        "same_tokens": written["engine"] == written["generate"] == list(last[0]),
    }


@torch.inference_mode()
def transformers_static(bench: Bench) -> dict[str, Any]:
    """The same with a static cache, which transformers compiles on a GPU, and only there (the warm-up)."""
    generate = _generate(bench, bench.live.modules["merged"], cache_implementation="static")
    began = time.perf_counter()
    generate()
    synchronize(bench.device)
    warm_up = time.perf_counter() - began
    theirs = milliseconds(generate, bench.device, 2, 1)
    ours = milliseconds(bench.write, bench.device, 5, 1)
    return {"generate": theirs, "engine_without_draft": ours, "speedup": round(theirs / ours, 2),
            "warm_up_s": round(warm_up, 1)}  # fmt: skip


@torch.inference_mode()
def reload(bench: Bench) -> dict[str, Any]:
    """What a tool without live merging does after a slider move: save the mixture, load it, generate."""
    from transformers import WhisperForConditionalGeneration

    folder = bench.folder / "mixture"
    bench.live.apply(MergeRecipe.build("slerp", {"slerp_t": 0.5}))

    def move() -> None:
        bench.live.modules["merged"].save_pretrained(folder)
        module = WhisperForConditionalGeneration.from_pretrained(folder, dtype=bench.live.dtype).to(bench.device)
        _generate(bench, module.eval())()

    theirs = milliseconds(move, bench.device, 1 if not bench.demo else 3, 0 if not bench.demo else 1)
    shutil.rmtree(folder, ignore_errors=True)
    truth = bench.write().tokens
    apply = bench.applier("slerp")

    def ours() -> None:
        apply()
        bench.write(drafts=[truth])

    live = milliseconds(ours, bench.device, 7, 2)
    return {"save_load_generate": theirs, "live": live, "speedup": round(theirs / live, 1)}


@torch.inference_mode()
def faster_whisper(bench: Bench) -> dict[str, Any]:
    """CTranslate2, the engine of faster-whisper, on the same window and weights (demo pair, A), where it is installed:
    in a process of its own, after ours."""
    if not bench.demo or bench.device.type != "cpu":
        return {"omitted": "measured on the CPU with the demo pair"}
    try:
        import ctranslate2
    except ImportError:
        return {"omitted": "ctranslate2 is not installed"}
    import numpy as np

    written = bench.write("a")
    ours = {
        "engine_without_draft": milliseconds(lambda: bench.write("a"), bench.device, 9, 3),
        "engine_with_draft": milliseconds(lambda: bench.write("a", [written.tokens]), bench.device, 9, 3),
    }
    target, request = bench.folder / "ct2", bench.folder / "request.npz"
    source = str(bench.checkpoints[0].folder)
    ctranslate2.converters.TransformersConverter(source).convert(str(target), quantization="float32", force=True)
    np.savez(
        request, features=bench.window[None].float().numpy(), prompt=bench.prompt,
        suppress=list(bench.vocabulary.suppress), most_tokens=bench.limit + len(bench.prompt),
        threads=torch.get_num_threads(),
    )  # fmt: skip
    command = [sys.executable, "-m", "benchmarks.ctranslate2_alone", str(target), str(request)]
    theirs = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=300).stdout)
    return {
        **ours,
        "ctranslate2": theirs["ms"],
        "ctranslate2_encoder": theirs["encoder_ms"],
        "same_tokens": theirs["tokens"] == list(written.tokens),
        "tokens": len(written.tokens),
    }
