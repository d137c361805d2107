"""A recipe in words, for those who do not read JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from merger.bilingual import Text, number, percent
from merger.curves import Curve
from merger.layout import COMPONENTS
from merger.params import Choice, Control, SourceWeights, Toggle, WeightPair

if TYPE_CHECKING:
    from merger.recipe import MergeRecipe


def shares(weights: Sequence[float], names: Sequence[str], lang: str) -> str:
    """`70 % A + 30 % B`; sources without a share are left out; equal halves read `50 % A + 50 % B`."""
    told = zip(weights, names, strict=False)
    parts = [f"{percent(round(weight, 3), lang)}\u00a0{name}" for weight, name in told if weight > 0]
    return " + ".join(parts) or percent(0, lang)


def _named(value: Any, control: Control, names: Sequence[str], lang: str) -> str:
    label = control.label.get(lang)
    return f"{label[0].lower()}{label[1:]} {_value(value, control, names, lang)}"


def _value(curve_or_value: Any, control: Control, names: Sequence[str], lang: str) -> str:
    if isinstance(curve_or_value, Curve):
        return " → ".join(_value(anchor, control, names, lang) for anchor in curve_or_value.anchors)
    if isinstance(control, (WeightPair, SourceWeights)):
        if curve_or_value is None:
            equal = Text("поровну", "equal").get(lang)
            return equal if len(names) == 2 else f"{equal} ({', '.join(names)})"
        total = sum(curve_or_value)
        every = [*names, *"CDEFGHIJKLMNOPQRSTUVWXYZ"[len(names) - 2 :]]  # a source without a name has its letter
        return shares([weight / total for weight in curve_or_value], every, lang)
    if isinstance(control, Choice):
        return control.options[curve_or_value].get(lang)
    if isinstance(control, Toggle):
        return Text("да", "yes").get(lang) if curve_or_value else Text("нет", "no").get(lang)
    return number(curve_or_value, lang)


def _guide_sentence(recipe: MergeRecipe, lang: str, names: Sequence[str]) -> str | None:
    """The guide's three in their own words."""
    given = recipe.parameters
    if recipe.method == "direct":
        return shares((given["direct_alpha"], 1 - given["direct_alpha"]), names, lang)
    if recipe.method == "slerp":
        arc = Text("по дуге", "along the arc").get(lang)
        return f"SLERP: {shares((1 - given['slerp_t'], given['slerp_t']), names, lang)}, {arc}"
    if recipe.method == "ties":
        hears = shares(given["encoder_weights"], names, lang)
        writes = shares(given["decoder_weights"], names, lang)
        density = number(given["ties_density"], lang)
        words = Text(
            f"TIES: кодировщик {hears}, декодер {writes}, плотность {density}",
            f"TIES: encoder {hears}, decoder {writes}, density {density}",
        )
        return words.get(lang)
    return None


def recipe_sentence(
    recipe: MergeRecipe,
    lang: str,
    name_a: str,
    name_b: str,
    base_name: str | None = None,
    others: Sequence[str] = (),
) -> str:
    """One sentence without a full stop: method, shares, what differs by part. `others`: names of C, D, …"""
    spec = recipe.spec
    names = [name_a, name_b, *(others if spec.sources == "many" else ())]
    sentence = _guide_sentence(recipe, lang, names)
    if sentence is None:
        details = [_named(recipe.parameters[key.key], key.control, names, lang) for key in spec.parameters]
        told = base_name and spec.needs_base
        base = [Text(f"от базы {base_name}", f"from the base {base_name}").get(lang)] if told else []
        sentence = f"{spec.title.get(lang)}: " + ", ".join([*base, *details])
    for component, settings in recipe.parts.items():
        values = ", ".join(_named(curve, curve.control, names, lang) for curve in settings.values())
        sentence += f"; {COMPONENTS[component].get(lang).lower()}: {values}"
    return sentence
