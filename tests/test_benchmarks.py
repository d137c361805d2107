"""Benchmarks: ratios worked out by hand, lines whose figures are in the reports, operations and bytes counted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.batch_floor import encoder_operations
from benchmarks.table import LINES, _at, table
from evaluation.engine.tensors import collect
from tests.evaluation.engine.tiny_whisper import make_module

RESULTS = Path(__file__).parent.parent / "docs" / "results"


def test_ratios_read_the_same_for_times_and_for_rates() -> None:
    report = {
        "machine": {"device": "cpu"},
        "demo": {
            "merge": {"flat_lerp_floor": 2.0, "direct": {"p50": 3.0}},
            "parts": {"encoder": 65.0, "encoder_transformers": 110.5},
            "transformers_default": {"engine_without_draft": "RuntimeError: no room", "generate": 205.0},
            "clips": {"best": {"engine": 1500.0, "transformers": 600.0, "floor": 2250.0}},
        },
    }
    assert [" ".join(line.split()) for line in table(report).splitlines()] == [
        "demo we floor we / floor peer we are faster the peer is",
        "apply() direct 3 2 1.50 x",
        "encoder, one window 65 110 1.70 x transformers",
        "batch, clips of 2 to 25 s, RTFx 1500 2250 1.50 x 600 2.50 x generate",
    ]
    assert table({"machine": {}}) == ""


def test_every_line_finds_its_figures_in_a_report_that_was_kept() -> None:
    kept = [json.loads((RESULTS / name).read_text(encoding="utf-8")) for name in ("live-cpu.json", "live-h200.json")]
    reports = [one for run in kept for one in dicts(run)]
    for line in LINES:
        for path in filter(None, (line.ours, line.floor, line.peer)):
            _, _, rest = path.partition(".best.")
            found = f"samples.best.{rest}" if rest else path  # every kind of batch has the same figures
            assert any(_at(report, found) is not None for report in reports), f"{line.what}: {path}"


def dicts(found: Any) -> Iterator[dict[str, Any]]:
    if isinstance(found, dict):
        yield found
        for value in found.values():
            yield from dicts(value)


@torch.inference_mode()
def test_the_operations_of_the_encoder_are_those_that_torch_counts() -> None:
    module = make_module(0)
    module.set_attn_implementation("eager")  # torch does not count fused attention on a CPU
    tensors = collect(module)
    with FlopCounterMode(display=False) as counter:
        module.model.encoder(torch.zeros(1, tensors.conv1[0].shape[1], 3000))
    assert encoder_operations(tensors) == counter.get_total_flops()


def test_a_step_reads_all_weights_of_the_layers_but_those_for_what_is_heard() -> None:
    module = make_module(0)
    decoder = module.model.decoder
    once = ("encoder_attn.k_proj", "encoder_attn.v_proj")
    read = [p for name, p in decoder.layers.named_parameters() if not any(part in name for part in once)]
    expected = sum(p.nbytes for p in [*read, decoder.embed_tokens.weight])
    assert collect(module).decoder_step_nbytes() == expected
