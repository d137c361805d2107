"""The Triton kernels in Triton's interpreter, against their plain twins; run by `test_interpreted_kernels.py`.

What an interpreter cannot show, compilation, speed and early launch, is left to `test_gpu.py`.
"""

from __future__ import annotations

import pytest
import torch

from evaluation.engine.device_greedy import DeviceWindowDecoder, make_plain_span
from evaluation.engine.device_loop import Rows, Start, advance
from evaluation.engine.greedy import WindowDecoder
from evaluation.engine.kernel_choice import fastest_span, fastest_step
from evaluation.engine.model import Caches, decode_many, decode_rows, encode, fill_cross, logits
from evaluation.engine.rules import Rules
from evaluation.engine.tensors import collect
from evaluation.engine.triton_step import MOST_ROWS, TritonDecoder, TritonStep
from evaluation.vocabulary import Vocabulary
from merger.live import LiveMerge
from merger.live.kernels import MergeKernel
from merger.live.tables import Table
from merger.recipe import MergeRecipe
from tests.evaluation.conftest import save_pair
from tests.evaluation.engine.states import copy_of, fields
from tests.evaluation.engine.tiny_whisper import START, make_processor

CPU = torch.device("cpu")
STEPS = 2
TOLERANCE = 0.005  # of the largest logit
RECIPES = [
    MergeRecipe.build("direct", {"direct_alpha": 0.3}),
    MergeRecipe.build("direct", {"direct_alpha": 1.0}),
    MergeRecipe.build("slerp", {"slerp_t": 0.4}, parts={"decoder": {"slerp_t": [0.1, 0.9]}}),
    MergeRecipe.build("ties", {"ties_density": 0.37}),
]


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> LiveMerge:
    folder = tmp_path_factory.mktemp("interpreted")
    return LiveMerge(*save_pair(folder, d_model=64, heads=2), device="cpu", dtype="float16")


@torch.inference_mode()
@pytest.mark.parametrize(("batch", "timestamps"), [(1, False), (2, True), (MOST_ROWS, True)])
def test_the_step(live: LiveMerge, batch: int, timestamps: bool) -> None:
    module = live.modules["a"]
    tensors = collect(module)
    rules = Rules(Vocabulary.of(module, make_processor().tokenizer), timestamps, CPU)
    caches, plain = Caches(tensors, batch), Caches(tensors, batch)
    torch.manual_seed(batch)
    heard = encode(tensors, torch.randn(batch, 80, 3000, dtype=tensors.dtype) * 0.3)
    for each in (caches, plain):
        fill_cross(tensors, heard, each)
    rows = Rows(batch, tensors.target_positions, CPU)
    for row in range(batch):  # also beyond a block of positions
        rows.load(Start(row, [START] * (1 + 70 * row), rules.history(), [], 2 + row))
    decoder = TritonDecoder(tensors, caches, rows.token, rows.position, dependent_launch=False)
    step = TritonStep(tensors, decoder, rows, rules)
    for _ in range(STEPS):
        scores = logits(tensors, decode_rows(tensors, plain, rows.token, rows.position, tensors.target_positions))
        decoder.forward()
        apart = float((step.scores - scores).abs().max())
        assert apart <= TOLERANCE * float(scores.abs().max())
        assert torch.allclose(caches.self_kv, plain.self_kv, atol=0.02)
        twin = copy_of(rows)
        advance(twin, rules, step.scores.clone())  # the same scores must lead to the same choice, whatever wrote them
        step.choose()
        for name, value in fields(twin).items():
            assert torch.equal(value, getattr(rows, name)), name
    assert rows.written.tolist() == [min(2 + row, STEPS) for row in range(batch)]


@torch.inference_mode()
@pytest.mark.parametrize("length", [4])
def test_a_pass_over_a_few_tokens(live: LiveMerge, length: int) -> None:
    tensors = collect(live.modules["b"])
    caches, plain = Caches(tensors, 1), Caches(tensors, 1)
    torch.manual_seed(length)
    heard = encode(tensors, torch.randn(1, 80, 3000, dtype=tensors.dtype) * 0.3)
    for each in (caches, plain):
        fill_cross(tensors, heard, each)
        decode_many(tensors, each, torch.arange(300)[None] % 250, 0)
    tokens, first = torch.arange(length)[None] + 7, torch.zeros((), dtype=torch.int64)
    span, twin = (make(tensors, its, tokens, first) for make, its in (
        (fastest_span(tensors), caches), (make_plain_span, plain),
    ))  # fmt: skip
    assert span.run.__module__ == fastest_span.__module__, "the kernels were not used"
    for place in (0, 63, 300):  # in the first block of positions, across two, and beyond all stretches
        first.fill_(place)
        span.run()
        twin.run()
        assert float((span.scores - twin.scores).abs().max()) <= TOLERANCE * float(twin.scores.abs().max())
        assert torch.allclose(caches.self_kv, plain.self_kv, atol=0.02)


@torch.inference_mode()
def test_the_same_tokens_as_step_by_step(live: LiveMerge) -> None:
    module = live.modules["a"]
    tensors, vocabulary = collect(module), Vocabulary.of(module, make_processor().tokenizer)
    rules, caches = Rules(vocabulary, False, CPU), Caches(tensors, 1)
    torch.manual_seed(0)
    fill_cross(tensors, encode(tensors, torch.randn(1, 80, 3000, dtype=tensors.dtype) * 0.3), caches)
    prompt = vocabulary.prompt("ru", "transcribe", False)
    expected = WindowDecoder(tensors, caches).decode(prompt, 7, rules)
    decoder = DeviceWindowDecoder(tensors, caches, fastest_step(tensors), fastest_span(tensors))
    found = decoder.decode(prompt, 7, rules, drafts=[[*expected.tokens[:2], 9]])
    assert found.tokens == expected.tokens and found.confirmed == 2


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.sentence("en"))
def test_the_merge(live: LiveMerge, recipe: MergeRecipe) -> None:
    live.apply(recipe)
    written = torch.zeros_like(live.mixture.buffer)
    kernel = MergeKernel(live.layout, *live._sources, written)
    for plan in live._plans.values():
        table = plan if isinstance(plan, Table) else Table.of(plan)
        assert table is not None
        kernel(table, torch.float16)
    assert torch.equal(written.view(torch.int16), live.mixture.buffer.view(torch.int16))
