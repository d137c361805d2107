"""Merging in memory: the bits of a merge to disk, in place, only what changes."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import WhisperForConditionalGeneration

from merger.checkpoint import Checkpoint, open_checkpoint
from merger.disk import merge_to_folder
from merger.errors import BadRecipe, Cancelled, DeviceUnavailable, IncompatibleModels
from merger.layout import EMBEDDING, TIED_HEAD
from merger.live import LiveMerge, ModelName, write
from merger.live.flat import FlatLayout
from merger.live.modules import pointers
from merger.live.tables import Table, is_copy
from merger.operators import Cut, Linear, TopBlend, average
from merger.recipe import MergeRecipe
from merger.registry import methods
from tests.conftest import TinyPair
from tests.factories import make_whisper_folder

GUIDE = {
    "direct": [{"direct_alpha": 0.3}, {"direct_alpha": 0.55}],
    "slerp": [{"slerp_t": 0.3}, {"slerp_t": 0.9}],
    "ties-merging": [{}, {"scope": "model", "density": 0.3}],
    "ties": [{}, {"ties_density": 0.37, "encoder_weights": (0.9, 0.1)}, {"ties_density": 0.5}],
}


@pytest.fixture(scope="module")
def checkpoints(tiny_pair: TinyPair) -> dict[str, Checkpoint]:
    folders = {"a": tiny_pair.a, "b": tiny_pair.b, "base": tiny_pair.base}
    return {key: open_checkpoint(folder) for key, folder in folders.items()}


@pytest.fixture(scope="module")
def live(checkpoints: dict[str, Checkpoint]) -> LiveMerge:
    return LiveMerge(**checkpoints, device="cpu")


def weights(live: LiveMerge, model: ModelName = "merged") -> dict[str, torch.Tensor]:
    with live.lend(model) as module:
        return {name: value.clone() for name, value in module.state_dict().items()}


def same_as_folder(live: LiveMerge, folder: Path) -> bool:
    stored = load_file(folder / "model.safetensors")
    heard = weights(live)
    return all(torch.equal(heard[name], value.float()) for name, value in stored.items())


@pytest.mark.parametrize("method", methods())
@pytest.mark.parametrize("prepared", [False, True])
def test_every_method_gives_the_bits_of_a_merge_to_disk(
    method: str, prepared: bool, live: LiveMerge, checkpoints: dict[str, Checkpoint], tmp_path: Path
) -> None:
    if prepared:
        live.prepare(method)
    for number, parameters in enumerate(GUIDE.get(method, [{}])):
        recipe = MergeRecipe.build(method, parameters)
        sources = {key: value for key, value in checkpoints.items() if recipe.spec.needs_base or key != "base"}
        merge_to_folder(recipe, sources, tmp_path / str(number), device="cpu")
        applied = live.apply(recipe)
        assert (applied.performed, applied.digest, applied.warnings) == (method, recipe.digest, ())
        assert same_as_folder(live, tmp_path / str(number))


@pytest.mark.parametrize("method", methods())
def test_small_steps_give_the_same_bits(
    method: str, live: LiveMerge, monkeypatch: pytest.MonkeyPatch
) -> None:
    for parameters in GUIDE.get(method, [{}]):
        recipe = MergeRecipe.build(method, parameters)
        live.mixture.forget()
        live.apply(recipe)
        whole = live.mixture.buffer.clone()
        with monkeypatch.context() as patch:
            patch.setattr("merger.live.write.KERNEL_STEP", 1000)
            patch.setitem(write.STEP, "cpu", 300)
            live.mixture.forget()
            live.mixture.buffer.zero_()
            live._write(live._plans, None)
        assert torch.equal(live.mixture.buffer.view(torch.int32), whole.view(torch.int32))


def test_what_the_kernels_refuse_in_the_middle_goes_on_plainly_and_can_be_cancelled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Refusing:
        def __init__(self) -> None:
            self.written: list[tuple[int, int]] = []

        def apply(self, stretch: write.Stretch, begin: int, end: int) -> bool:
            if begin >= 120:
                return False
            merged[begin:end] = source[begin:end]
            self.written.append((begin, end))
            return True

    monkeypatch.setattr(write, "KERNEL_STEP", 50)
    monkeypatch.setitem(write.STEP, "cpu", 30)
    source, merged, plainly = torch.arange(200.0), torch.zeros(200), []
    stretch = write.Stretch(Linear((1.0,)), torch.float32, 20, 200, ("one",))

    def read(begin: int, end: int) -> tuple[tuple[torch.Tensor, ...], None]:
        plainly.append((begin, end))
        return (source[begin:end],), None

    refusing = Refusing()
    write.carry_out(stretch, read, merged, None, refusing)  # type: ignore[arg-type]
    assert refusing.written == [(20, 70), (70, 120)] and plainly == [(120, 150), (150, 180), (180, 200)]
    assert merged[:20].eq(0).all() and torch.equal(merged[20:], source[20:])
    polls = iter([False] * 4 + [True])
    with pytest.raises(Cancelled):
        write.carry_out(stretch, read, merged, lambda: next(polls), refusing)  # type: ignore[arg-type]
    assert plainly[3:] == [(120, 150)]


def test_curves_over_the_blocks_give_the_bits_of_a_merge_to_disk(
    live: LiveMerge, checkpoints: dict[str, Checkpoint], tmp_path: Path
) -> None:
    recipe = MergeRecipe.build("direct", {"direct_alpha": 0.2}, parts={"encoder": {"direct_alpha": [0.9, 0.1]}})
    merge_to_folder(recipe, {key: checkpoints[key] for key in "ab"}, tmp_path / "out", device="cpu")
    live.apply(recipe)
    assert same_as_folder(live, tmp_path / "out")


@pytest.fixture(scope="module")
def three(tiny_pair: TinyPair, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Checkpoint]:
    """A, B, a third model of the same family, and the base."""
    third = make_whisper_folder(tmp_path_factory.mktemp("third") / "c", seed=4, ancestor=tiny_pair.base)
    folders = {"a": tiny_pair.a, "b": tiny_pair.b, "c": third, "base": tiny_pair.base}
    return {key: open_checkpoint(folder) for key, folder in folders.items()}


def of_three(three: dict[str, Checkpoint], *, base: bool = True) -> LiveMerge:
    return LiveMerge(three["a"], three["b"], three["base"] if base else None, others=[three["c"]], device="cpu")


@pytest.mark.parametrize("method", methods())
def test_three_sources_give_the_bits_of_a_merge_to_disk(
    method: str, three: dict[str, Checkpoint], tmp_path: Path
) -> None:
    live = of_three(three)
    for number, parameters in enumerate(GUIDE.get(method, [{}])):
        recipe = MergeRecipe.build(method, parameters)
        unused = {"c"} if recipe.spec.sources == "two" else set()
        unused |= set() if recipe.spec.needs_base else {"base"}
        sources = {key: model for key, model in three.items() if key not in unused}
        merge_to_folder(recipe, sources, tmp_path / str(number), device="cpu")
        live.prepare(method)
        live.apply(MergeRecipe.build("linear", {"weights": [0.1, 0.2, 0.7]}))
        live.apply(recipe)
        assert same_as_folder(live, tmp_path / str(number))


def test_a_mixture_that_copies_the_third_source_is_that_source(three: dict[str, Checkpoint]) -> None:
    live = of_three(three, base=False)
    live.apply(MergeRecipe.build("linear", {"weights": [0.0, 0.0, 1.0]}))
    stored = load_file(three["c"].folder / "model.safetensors")
    assert all(torch.equal(weights(live)[name], value.float()) for name, value in stored.items())
    third = live.identity("merged")
    assert third not in (live.identity("a"), live.identity("b"))
    live.apply(MergeRecipe.build("direct", {"direct_alpha": 0.0}))
    assert live.identity("merged") == live.identity("b")
    assert live.nbytes == 4 * live.layout.size * 4, "A, B, C and the mixture in float32"


def test_weights_have_to_be_one_per_source(three: dict[str, Checkpoint]) -> None:
    with pytest.raises(BadRecipe, match="3"):
        of_three(three, base=False).apply(MergeRecipe.build("linear", {"weights": [0.5, 0.5]}))


def test_prepared_cuts_equal_measured_ones(checkpoints: dict[str, Checkpoint]) -> None:
    ready, plain = (LiveMerge(checkpoints["a"], checkpoints["b"], device="cpu") for _ in range(2))
    ready.prepare("ties")
    for density in (0.0, 0.01, 0.33, 0.5, 0.99, 1.0, 0.123):
        recipe = MergeRecipe.build("ties", {"ties_density": density})
        ready.apply(recipe)
        plain.apply(recipe)
        expected = weights(plain)
        assert all(torch.equal(value, expected[name]) for name, value in weights(ready).items())


def test_ends_are_the_parents_bit_for_bit(live: LiveMerge) -> None:
    for method, key, a_end in (("direct", "direct_alpha", 1.0), ("slerp", "slerp_t", 0.0)):
        for value, parent in ((a_end, "a"), (1 - a_end, "b")):
            live.apply(MergeRecipe.build(method, {key: value}))
            expected = weights(live, parent)  # type: ignore[arg-type]
            assert all(torch.equal(value, expected[name]) for name, value in weights(live).items())
            assert live.identity("merged") == live.identity(parent)  # type: ignore[arg-type]


def test_modules_are_those_that_transformers_loads(live: LiveMerge, tiny_pair: TinyPair) -> None:
    for name, folder in (("a", tiny_pair.a), ("b", tiny_pair.b)):
        loaded = WhisperForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
        module = live.modules[name]
        assert {**module.config.to_dict(), "_name_or_path": str(folder)} == loaded.config.to_dict()
        assert module.generation_config.to_dict() == loaded.generation_config.to_dict()
        for (key, mine), (its_key, its) in zip(module.state_dict().items(), loaded.state_dict().items(), strict=True):
            assert key == its_key and torch.equal(mine, its)
        assert module.proj_out.weight is module.model.decoder.embed_tokens.weight
        assert not module.training and not any(parameter.requires_grad for parameter in module.parameters())


def test_pointers_stand_while_weights_change(live: LiveMerge) -> None:
    with live.lend("merged") as module:
        before, embedding = pointers(module), module.model.decoder.embed_tokens.weight.clone()
        live.apply(MergeRecipe.build("direct", {"direct_alpha": 0.11}))
        assert pointers(module) == before
        assert not torch.equal(module.model.decoder.embed_tokens.weight, embedding)


def test_only_what_changes_is_written(live: LiveMerge) -> None:
    def apply(**parameters: object) -> tuple[int, str, str]:
        rewritten = live.apply(MergeRecipe.build("ties", parameters)).rewritten
        return rewritten, live.identity("merged").encoder, live.identity("merged").decoder

    _, encoder, decoder = apply(decoder_weights=(0.4, 0.6))
    rewritten, same_encoder, other_decoder = apply(decoder_weights=(0.2, 0.8))
    assert same_encoder == encoder and other_decoder != decoder
    assert 0 < rewritten <= live.layout.size - live.layout.encoder_stop
    assert apply(decoder_weights=(0.2, 0.8))[0] == 0
    rewritten, other_encoder, same_decoder = apply(decoder_weights=(0.2, 0.8), encoder_weights=(0.1, 0.9))
    assert other_encoder != encoder and same_decoder == other_decoder
    assert 0 < rewritten <= live.layout.encoder_stop
    assert apply(decoder_weights=(0.4, 0.6))[1:] == (encoder, decoder)


def test_generations_count_up(live: LiveMerge) -> None:
    recipe = MergeRecipe.build("direct")
    numbers = [live.apply(recipe).generation for _ in range(3)]
    assert all(later == earlier + 1 for earlier, later in pairwise(numbers)) and live.generation == numbers[-1]


def test_after_a_cancelled_merge_the_one_before_is_lent(live: LiveMerge) -> None:
    live.apply(MergeRecipe.build("slerp", {"slerp_t": 0.2}))
    before, generation = weights(live), live.generation
    for patience in (0, 3, 60):
        polls = iter([False] * patience)
        with pytest.raises(Cancelled):
            live.apply(MergeRecipe.build("slerp", {"slerp_t": 0.8}), lambda polls=polls: next(polls, True))
        assert live.generation == generation
    assert all(torch.equal(value, before[name]) for name, value in weights(live).items())


def test_streamed_sources_give_the_same_models(live: LiveMerge, checkpoints: dict[str, Checkpoint]) -> None:
    streamed = LiveMerge(checkpoints["a"], checkpoints["b"], device="cpu", resident=False)
    recipe = MergeRecipe.build("ties", {"ties_density": 0.6})
    live.apply(recipe)
    streamed.apply(recipe)
    assert set(streamed.modules) == {"merged"} and streamed.nbytes < live.nbytes
    for model in ("a", "merged", "b", "merged", "a"):
        expected = weights(live, model)  # type: ignore[arg-type]
        assert all(torch.equal(value, expected[name]) for name, value in weights(streamed, model).items())  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_narrow_buffers_hold_the_rounded_mixture(dtype: str, checkpoints: dict[str, Checkpoint]) -> None:
    narrow = LiveMerge(checkpoints["a"], checkpoints["b"], device="cpu", dtype=dtype)
    kind = getattr(torch, dtype)
    a, b = (weights(narrow, model) for model in ("a", "b"))  # type: ignore[arg-type]
    assert all(value.dtype == kind for value in a.values())
    expected = (a[EMBEDDING].float() * 0.5 + b[EMBEDDING].float() * 0.5).half().to(kind)
    assert torch.equal(weights(narrow)[EMBEDDING], expected)


def test_a_failed_method_falls_back_to_direct(
    checkpoints: dict[str, Checkpoint], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object) -> None:
        raise MemoryError

    live = LiveMerge(checkpoints["a"], checkpoints["b"], device="cpu")
    live.apply(MergeRecipe.build("direct", {"direct_alpha": 0.75}))
    expected = weights(live)
    monkeypatch.setattr("merger.live.prepared.LiveView.gram", fail)
    recipe = MergeRecipe.build("slerp", {"slerp_t": 0.25})
    applied = live.apply(recipe)
    assert applied.performed == "direct" and applied.digest == recipe.digest
    assert "slerp" in applied.warnings[0].ru and "out of memory" in applied.warnings[0].en
    assert all(torch.equal(value, expected[name]) for name, value in weights(live).items())


def test_bad_sources_are_refused(checkpoints: dict[str, Checkpoint], tmp_path: Path) -> None:
    other = open_checkpoint(make_whisper_folder(tmp_path / "other", seed=5, d_model=32))
    with pytest.raises(IncompatibleModels):
        LiveMerge(checkpoints["a"], other, device="cpu")
    with pytest.raises(DeviceUnavailable):
        LiveMerge(checkpoints["a"], checkpoints["b"], device="abacus")
    without_base = LiveMerge(checkpoints["a"], checkpoints["b"], device="cpu")
    for spec in methods().values():
        if spec.needs_base:
            with pytest.raises(BadRecipe):
                without_base.apply(MergeRecipe.build(spec.name))


def test_the_layout_keeps_projections_together() -> None:
    config = {"encoder_layers": 1, "decoder_layers": 1}
    stem = "model.decoder.layers.0.self_attn"
    shapes = {
        TIED_HEAD: (5, 4), f"{stem}.k_proj.weight": (4, 4), f"{stem}.v_proj.weight": (4, 4),
        f"{stem}.v_proj.bias": (4,), f"{stem}.q_proj.weight": (4, 4), f"{stem}.q_proj.bias": (4,),
        EMBEDDING: (5, 4), "model.encoder.conv1.bias": (3,),
    }  # fmt: skip
    layout = FlatLayout.of(shapes, config, tied=True)
    starts = {name: slot.start for name, slot in layout.slots.items()}
    assert starts == {
        "model.encoder.conv1.bias": 0,
        f"{stem}.q_proj.weight": 64, f"{stem}.k_proj.weight": 80, f"{stem}.v_proj.weight": 96,
        f"{stem}.q_proj.bias": 128, f"{stem}.v_proj.bias": 136,
        EMBEDDING: 192,
    }  # fmt: skip
    assert (layout.size, layout.encoder_stop) == (212, 3)
    buffer = torch.arange(212.0)
    assert layout.view(buffer, TIED_HEAD).data_ptr() == layout.view(buffer, EMBEDDING).data_ptr()
    assert TIED_HEAD in FlatLayout.of(shapes, config, tied=False).slots


@pytest.mark.parametrize("method", ["direct", "slerp", "ties"])
def test_tables_hold_the_operators_of_the_methods(method: str, live: LiveMerge) -> None:
    ends = {"direct": {"direct_alpha": 0.0}, "slerp": {"slerp_t": 1.0}, "ties": {"ties_density": 1.0}}
    for parameters in [*GUIDE[method], ends.get(method, {})]:
        recipe = MergeRecipe.build(method, parameters)
        live.apply(recipe)
        views = live._planner(live.recipe).measured.views(recipe.spec)
        common = live._planner(live.recipe).measured.equal(recipe.spec.needs_base)
        for plan in live._plans.values():
            assert isinstance(plan, Table)
            for name in set(plan) - common:
                expected = recipe.spec.plan(views[name], **recipe.parameters_at(views[name].place))
                table = Table.of({name: expected})
                assert table is not None and table.equals(Table.of({name: plan[name]}))


def test_a_table_says_only_what_it_can() -> None:
    assert Table.of({"x": Linear((0.2, 0.3, 0.5))}) is None
    blend = TopBlend(Cut(7, 3), Linear((0.25, 0.75)), average())
    table = Table.of({"x": Linear((1.0, 0.0)), "y": blend})
    assert table is not None and dict(table) == {"x": Linear((1.0, 0.0)), "y": blend} and len(table) == 2
    assert is_copy(table, frozenset({"y"})) == 0 and is_copy(table, frozenset()) is None
