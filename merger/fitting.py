"""Whether a recipe fits the models it is given: their number, the base, the number of weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from merger.bilingual import Text
from merger.errors import BadRecipe, Fault
from merger.params import SourceWeights
from merger.recipe import MergeRecipe


def require_fit(recipe: MergeRecipe, sources: Mapping[str, Any], base_key: str = "base") -> None:
    """Raises BadRecipe with everything that does not fit. `sources` needs only its keys."""
    spec, count = recipe.spec, len([key for key in sources if key != base_key])
    faults = []
    if spec.needs_base and base_key not in sources:
        faults.append(
            Fault(
                Text(f"Методу {spec.name} нужна базовая модель.", f"{spec.name} needs the base model."),
                Text(
                    "Укажите её: --base ПУТЬ (модель, из которой дообучены обе).",
                    "Name it: --base PATH (the model that both were fine-tuned from).",
                ),
                "base",
            )
        )
    if count < 2 or (spec.sources == "two" and count > 2):
        wanted = Text("ровно две модели", "exactly two models")
        if spec.sources == "many":
            wanted = Text("хотя бы две модели", "at least two models")
        faults.append(
            Fault(
                Text(
                    f"Методу {spec.name} нужно {wanted.ru}, дано {count}.",
                    f"{spec.name} needs {wanted.en}, {count} given.",
                ),
                Text("Уберите лишние или возьмите метод linear.", "Remove the others, or take the method linear."),
                "sources",
            )
        )
    for declared in spec.parameters:
        if isinstance(declared.control, SourceWeights):
            title, values = declared.title, [recipe.parameters[declared.key]]
            for settings in recipe.parts.values():
                values.extend(settings[declared.key].anchors if declared.key in settings else ())
            if any(value is not None and len(value) != count for value in values):
                faults.append(
                    Fault(
                        Text(f"{title.ru}: нужно весов: {count}.", f"{title.en}: {count} weights are due."),
                        Text("Укажите по одному весу на модель.", "Give one weight per model."),
                        declared.key,
                    )
                )
    if recipe.parameters.get("scope") == "model" and any("density" in settings for settings in recipe.parts.values()):
        faults.append(
            Fault(
                Text(
                    "Порог один на всю модель, а доля по частям задана разная.",
                    "The threshold is one for the whole model, but parts of it have their own density.",
                ),
                Text("Возьмите --scope tensor.", "Take --scope tensor."),
                "density",
            )
        )
    if faults:
        raise BadRecipe(faults=faults)
