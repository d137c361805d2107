"""What becomes of a recipe when the models change: A and B swapped, a source more or less."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from merger.curves import Curve
from merger.params import SourceWeights
from merger.recipe import MergeRecipe


def mirrored(recipe: MergeRecipe) -> MergeRecipe | None:
    """The recipe of the same mixture after A and B have changed places; None if the method cannot say it."""
    return None if recipe.spec.mirror is None else _turned(recipe, recipe.spec.mirror)


def fitted(recipe: MergeRecipe, before: Sequence[str], after: Sequence[str]) -> MergeRecipe:
    """The recipe after models came or went: a new one gets the mean weight, one that left takes its own with it.

    `before`, `after`: the sources' references in order.
    """
    if len(before) == len(after):
        return recipe

    def turned(parameters: Mapping[str, Any]) -> dict[str, Any]:
        return {
            key: _refitted(value, before, after) if isinstance(recipe.spec.parameter(key).control, SourceWeights)
            else value
            for key, value in parameters.items()
        }  # fmt: skip

    return _turned(recipe, turned)


def _refitted(weights: Sequence[float] | None, before: Sequence[str], after: Sequence[str]) -> list[float] | None:
    if weights is None or len(weights) != len(before):
        return None
    known, mean = dict(zip(before, weights, strict=True)), round(sum(weights) / len(weights), 6)
    found = [known.get(ref, mean) for ref in after]
    return found if sum(found) > 0 else [1 / len(after)] * len(after)


def _turned(recipe: MergeRecipe, turn: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> MergeRecipe:
    """The recipe with its parameters turned, curves by their anchors: `turn` keeps straight lines straight."""

    def curve(key: str, drawn: Curve) -> Any:
        anchors = (turn({**recipe.parameters, key: anchor}).get(key, anchor) for anchor in drawn.anchors)
        return Curve(tuple(anchors), drawn.control).to_json()

    parts = {part: {key: curve(key, drawn) for key, drawn in curves.items()} for part, curves in recipe.parts.items()}
    return MergeRecipe.build(recipe.method, {**recipe.parameters, **turn(recipe.parameters)}, parts=parts)
