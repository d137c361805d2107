"""Values per part and curves over the layers, for every parameter of every method that may have them."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from merger.checkpoint import open_checkpoint
from merger.disk import merge_to_folder
from merger.layout import COMPONENTS, place_of
from merger.params import SourceWeights, WeightPair
from merger.recipe import MergeRecipe
from merger.registry import MethodSpec, ParameterSpec, methods
from tests.factories import make_whisper_folder

LAYERS = {"encoder_layers": 3, "decoder_layers": 3}
Tensors = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Base and two fine-tunes with three layers in each stack, so that a curve of two anchors has a middle."""
    root = tmp_path_factory.mktemp("parts")
    make = partial(make_whisper_folder, d_model=8, encoder_ffn_dim=16, decoder_ffn_dim=16, **LAYERS)
    base = make(root / "base", 1)
    return {"a": make(root / "a", 2, ancestor=base), "b": make(root / "b", 3, ancestor=base), "base": base}


def two_values(declared: ParameterSpec) -> tuple[Any, Any]:
    """Two values that are not the default, as JSON."""
    control: Any = declared.control
    if isinstance(control, WeightPair):
        return [0.3, 0.7], [0.9, 0.1]
    if isinstance(control, SourceWeights):
        return [1.0, 3.0], [3.0, 1.0]
    return tuple(control.low + share * (control.high - control.low) for share in (0.4, 0.7))


def belongs(name: str, component: str) -> bool:
    """Whether a setting of this part acts on the tensor: a stack's acts on everything in it."""
    inside = {"cross_attention": r"\.encoder_attn", "embeddings": r"\.embed_(tokens|positions)\."}
    return re.search(inside.get(component, rf"^model\.{component}\."), name) is not None


def depth(name: str) -> float:
    """0 in the first of three layers and before it, ½ in the second, 1 in the third and behind it."""
    block = re.search(r"\.layers\.(\d)\.", name)
    return int(block[1]) / 2 if block else float(".layer_norm." in name)


def on_the_line(first: Any, last: Any, share: float) -> Any:
    if isinstance(first, list):
        return tuple(one + (other - one) * share for one, other in zip(first, last, strict=True))
    return first + (last - first) * share


def per_part(spec: MethodSpec) -> list[ParameterSpec]:
    return [declared for declared in spec.parameters if declared.control.per_part]


TUNABLE = [spec for spec in methods().values() if per_part(spec)]


def test_what_may_not_vary_is_a_choice_or_a_seed() -> None:
    fixed = {own.key for spec in methods().values() for own in spec.parameters if not own.control.per_part}
    assert fixed == {"scope", "seed", "encoder_from", "decoder_from"}


@pytest.mark.parametrize("spec", TUNABLE, ids=lambda spec: spec.name)
def test_a_part_alone_follows_its_own_value(spec: MethodSpec, folders: dict[str, Path], tmp_path: Path) -> None:
    keys = ("a", "b", "base") if spec.needs_base else ("a", "b")
    sources = {key: open_checkpoint(folders[key]) for key in keys}
    raw = {key: load_file(folders[key] / "model.safetensors") for key in folders}

    def merged(**recipe: Any) -> Tensors:
        merge_to_folder(MergeRecipe.build(spec.name, **recipe), sources, tmp_path / "out", device="cpu")
        return load_file(tmp_path / "out/model.safetensors")

    def on_the_curve(name: str, key: str, anchors: tuple[Any, Any]) -> np.ndarray:
        a, b, base = (raw[source][name].astype(np.float32) for source in ("a", "b", "base"))
        if np.array_equal(a, b) and np.array_equal(a, base):
            return raw["a"][name]  # the engine copies it
        value = on_the_line(*anchors, depth(name))
        return spec.merge([a, b], base, place_of(name, a.shape, LAYERS), **{key: value}).astype(np.float16)

    plain = merged()
    for declared in per_part(spec):
        anchors = two_values(declared)
        everywhere = merged(parameters={declared.key: anchors[0]})
        for component in declared.control.components or COMPONENTS:
            one = merged(parts={component: {declared.key: anchors[0]}})
            curve = merged(parts={component: {declared.key: list(anchors)}})
            inside = {name for name in plain if belongs(name, component)}
            where = (declared.key, component)
            assert inside and any((one[name] != plain[name]).any() for name in inside), where
            for name in plain:
                wanted = everywhere if name in inside else plain
                assert one[name].tobytes() == wanted[name].tobytes(), (where, name)
                wanted_curve = on_the_curve(name, declared.key, anchors) if name in inside else plain[name]
                assert curve[name].tobytes() == wanted_curve.tobytes(), (where, name)
