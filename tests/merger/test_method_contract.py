"""What every registered method has to keep, whatever it computes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from merger.arguments import read_request
from merger.bilingual import LANGUAGES
from merger.console import methods_table
from merger.flags import parse_arguments
from merger.layout import place_of
from merger.params import Choice, Integer, Slider, SourceWeights, Toggle, WeightPair
from merger.recipe import MergeRecipe
from merger.registry import MethodSpec, ParameterSpec, methods

METHODS = methods()
each_method = pytest.mark.parametrize("spec", METHODS.values(), ids=METHODS)
PLACE = place_of("model.decoder.layers.1.fc1.weight", (12, 20), {"encoder_layers": 4, "decoder_layers": 4})


def sources(count: int = 2, seed: int = 0) -> tuple[list[np.ndarray], np.ndarray]:
    """`count` fine-tunes and their base: float32 arrays of PLACE's shape that hold half-precision values."""
    generator = np.random.default_rng(seed)
    base = generator.normal(0, 0.1, PLACE.shape).astype(np.float16).astype(np.float32)
    tuned = [
        (base + generator.normal(0, 0.02, PLACE.shape)).astype(np.float16).astype(np.float32) for _ in range(count)
    ]
    return tuned, base


def same_bits(one: Any, other: Any) -> bool:
    one, other = (np.asarray(array.cpu() if isinstance(array, torch.Tensor) else array) for array in (one, other))
    return one.dtype == other.dtype == np.float32 and one.tobytes() == other.tobytes()


def name_of(spec: MethodSpec) -> str:
    return spec.name


def range_ends(declared: ParameterSpec) -> list[Any]:
    """The extreme values that a parameter may take."""
    control = declared.control
    match control:
        case Slider() | Integer():
            return [control.low, control.high]
        case WeightPair():
            return [(1.0, 0.0), (0.0, 1.0), (0.5, 0.5)]
        case SourceWeights():
            return [None, (1.0, 0.0), (0.0, 3.0)]
        case Choice():
            return list(control.options)
        case Toggle():
            return [False, True]
    raise AssertionError(f"no ends known for {control}")


@each_method
def test_equal_sources_are_that_model(spec: MethodSpec) -> None:
    (model, _), _ = sources()
    # The engine copies tensors that are equal everywhere; the plain formula may differ by rounding, not by more.
    merged = spec.merge([model, model], model, PLACE)
    np.testing.assert_allclose(merged, model, rtol=2e-7, atol=0)


# S + 1·(A − S) is A only up to rounding, so methods on differences declare no end; those with chance have no mirror.
NO_ENDPOINT = {spec.name for spec in METHODS.values() if spec.space == "delta"}
NO_MIRROR = {"dare-linear", "dare-ties", "della"}


def test_exemptions_are_exactly_these() -> None:
    assert {spec.name for spec in METHODS.values() if spec.endpoint is None} == NO_ENDPOINT
    assert {spec.name for spec in METHODS.values() if spec.mirror is None} == NO_MIRROR


@pytest.mark.parametrize("spec", [each for each in METHODS.values() if each.endpoint is not None], ids=name_of)
def test_endpoint_is_a_bit_for_bit(spec: MethodSpec) -> None:
    (a, b), base = sources()
    a.flat[3], b.flat[3] = -0.0, 0.0  # a sign that sums would lose
    assert same_bits(spec.merge([a, b], base, PLACE, **spec.endpoint), a)


@pytest.mark.parametrize("spec", [each for each in METHODS.values() if each.mirror is not None], ids=name_of)
def test_swapping_sources_and_parameters_changes_nothing(spec: MethodSpec) -> None:
    (a, b), base = sources()
    given = {**spec.defaults, **{key: 0.3 for key in ("direct_alpha", "slerp_t") if key in spec.defaults}}
    straight = spec.merge([a, b], base, PLACE, **given)
    swapped = spec.merge([b, a], base, PLACE, **{**given, **spec.mirror(given)})
    np.testing.assert_allclose(straight, swapped, rtol=0, atol=3e-8)


@each_method
def test_result_has_shape_and_type_and_inputs_are_untouched(spec: MethodSpec) -> None:
    (a, b), base = sources()
    kept = [array.copy() for array in (a, b, base)]
    merged = spec.merge([a, b], base, PLACE)
    assert merged.shape == PLACE.shape
    assert merged.dtype == np.float32
    assert np.isfinite(merged).all()
    assert all(same_bits(now, then) for now, then in zip((a, b, base), kept, strict=True))
    assert not np.shares_memory(merged, a)
    assert not np.shares_memory(merged, b)


@each_method
def test_same_call_gives_the_same_bits(spec: MethodSpec) -> None:
    (a, b), base = sources()
    assert same_bits(spec.merge([a, b], base, PLACE), spec.merge([a, b], base, PLACE))


@each_method
def test_torch_gives_the_bits_of_numpy(spec: MethodSpec) -> None:
    (a, b), base = sources(seed=5)
    plain = spec.merge([a, b], base, PLACE)
    on_torch = spec.merge([torch.from_numpy(a), torch.from_numpy(b)], torch.from_numpy(base), PLACE)
    assert isinstance(on_torch, torch.Tensor)
    np.testing.assert_allclose(on_torch.numpy(), plain, rtol=1.2e-7, atol=1e-12)
    # Where a sum over the tensor decides a coefficient, its last float64 digit may differ; elementwise it does not.
    assert (on_torch.numpy() != plain).mean() < 1e-3


@each_method
def test_both_ends_of_every_range_run(spec: MethodSpec) -> None:
    (a, b), base = sources()
    for declared in spec.parameters:
        for value in range_ends(declared):
            merged = spec.merge([a, b], base, PLACE, **{declared.key: value})
            assert np.isfinite(merged).all(), (declared.key, value)


@each_method
def test_defaults_are_valid_and_described_in_both_languages(spec: MethodSpec) -> None:
    for lang in LANGUAGES:
        described = spec.to_json(lang)
        json.dumps(described)
        assert described["title"] and described["summary"]
        for parameter in described["parameters"]:
            assert parameter["label"] and parameter["help"] and parameter["kind"]
    russian, english = (
        [spec.summary.get(lang), *(own.control.help.get(lang) for own in spec.parameters)]
        for lang in LANGUAGES
    )
    assert all(any("а" <= letter <= "я" for letter in text.lower()) for text in russian)
    assert not any("а" <= letter <= "я" for text in english for letter in text.lower())
    for declared in spec.parameters:
        assert declared.validate(declared.control.to_json(declared.default)) == declared.default


@each_method
def test_recipe_survives_json_and_the_command_line(spec: MethodSpec) -> None:
    for ends in ({}, *({declared.key: end} for declared in spec.parameters for end in range_ends(declared))):
        recipe = MergeRecipe.build(spec.name, ends)
        assert MergeRecipe.from_json(json.dumps(recipe.to_json())) == recipe
        flags = [f"{own.flag}={own.control.to_flag(recipe.parameters[own.key])}" for own in spec.parameters]
        places = ["--model-a=A", "--model-b=B", "--output-dir=O"]
        given, faults = parse_arguments(["--method", spec.name, *flags, *places])
        assert read_request(given, faults).recipes[""] == recipe


@each_method
def test_sentence_in_both_languages(spec: MethodSpec) -> None:
    recipe = MergeRecipe.build(spec.name)
    for lang in LANGUAGES:
        sentence = recipe.sentence(lang, "Первая", "Вторая", "База" if spec.needs_base else None)
        assert len(sentence) > 5 and "{" not in sentence


def test_the_guides_methods_come_first() -> None:
    assert [spec.name for spec in METHODS.values() if spec.guide] == list(METHODS)[:3] == ["direct", "slerp", "ties"]


def test_the_documented_table_is_the_registrys() -> None:
    documented = (Path(__file__).resolve().parents[2] / "docs/methods.md").read_text(encoding="utf-8")
    assert methods_table("en") in documented  # made by `python -m merger methods --markdown --lang en`
