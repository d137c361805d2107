"""A merge recipe: the identity of a result.

    {"method": "ties",
     "parameters": {"ties_density": 0.85, "encoder_weights": [0.6, 0.4], "decoder_weights": [0.5, 0.5]},
     "parts": {"encoder": {"ties_density": [0.9, 0.7]}}}

`parameters` left out take their defaults. `parts` sets parameters per component (encoder, decoder, cross_attention,
embeddings; the last two inherit from the stack they lie in), as one value or as a curve: a list of anchors, spread
evenly over the depth of the stack and interpolated linearly. It is one mechanism for all methods.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from merger.bilingual import Text
from merger.curves import Curve, read_curve
from merger.errors import BadParameter, BadRecipe, Fault
from merger.layout import COMPONENTS, Component, Place
from merger.registry import MethodSpec, ParameterSpec, get_method

_KNOWN_KEYS = frozenset({"method", "parameters", "parts", "sources"})


def recipe_fault(ru: str, en: str, remedy: Text | None = None) -> BadRecipe:
    """A `BadRecipe` with one fault."""
    fallback = Text(
        'Пример: {"method": "direct", "parameters": {"direct_alpha": 0.7}}.',
        'For example: {"method": "direct", "parameters": {"direct_alpha": 0.7}}.',
    )
    return BadRecipe(faults=[Fault(Text(ru, en), remedy or fallback)])


@dataclass(frozen=True)
class MergeRecipe:
    """A validated recipe; make one with `build` or `from_json`.

    `parameters` are complete. `parts` maps a component to the parameters that differ there. `sources` says where the
    models lie (key → path or Hub id) and is no part of the identity: the same recipe fits any pair.
    """

    method: str
    parameters: Mapping[str, Any]
    parts: Mapping[Component, Mapping[str, Curve]] = field(default_factory=dict)
    sources: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def build(
        cls,
        method: str,
        parameters: Mapping[str, Any] | None = None,
        *,
        parts: Mapping[str, Mapping[str, Any]] | None = None,
        sources: Mapping[str, str] | None = None,
    ) -> MergeRecipe:
        """Check everything, fill in the defaults. Raises BadParameter with all faults at once."""
        spec = get_method(method)
        given, faults = dict(parameters or {}), list[Fault]()
        complete: dict[str, Any] = {}
        for declared in spec.parameters:
            try:
                complete[declared.key] = declared.validate(given.pop(declared.key, declared.default))
            except BadParameter as error:
                faults.extend(error.faults)
        faults.extend(_foreign(spec, key) for key in given)
        tuned = _read_parts(spec, parts or {}, faults)
        if faults:
            raise BadParameter(faults=faults)
        return cls(spec.name, complete, tuned, dict(sources or {}))

    @classmethod
    def from_json(cls, recipe: Mapping[str, Any] | str) -> MergeRecipe:
        """Read a recipe from JSON text or its parsed form. Raises BadRecipe or BadParameter."""
        if isinstance(recipe, str):
            recipe = parse_json(recipe)
        if not isinstance(recipe, Mapping) or not isinstance(recipe.get("method"), str):
            raise recipe_fault("В рецепте нет метода («method»).", "The recipe names no method (“method”).")
        unknown = sorted(str(key) for key in set(recipe) - _KNOWN_KEYS)
        if unknown:
            names = ", ".join(unknown)
            raise recipe_fault(f"В рецепте есть незнакомые поля: {names}.", f"The recipe has unknown fields: {names}.")
        for key in ("parameters", "parts", "sources"):
            if not isinstance(recipe.get(key, {}), Mapping):
                raise recipe_fault(f"Поле рецепта «{key}» — не объект.", f"The recipe's “{key}” is not an object.")
        sources = {str(key): str(value) for key, value in (recipe.get("sources") or {}).items()}
        return cls.build(
            recipe["method"], recipe.get("parameters"), parts=recipe.get("parts"), sources=sources
        )

    @property
    def spec(self) -> MethodSpec:
        """The method's declaration."""
        return get_method(self.method)

    def to_json(self) -> dict[str, Any]:
        """The recipe as JSON; `parts` only where there are any. `from_json` reads it back to an equal recipe."""
        spec = self.spec
        recipe: dict[str, Any] = {
            "method": self.method,
            "parameters": {
                declared.key: declared.control.to_json(self.parameters[declared.key]) for declared in spec.parameters
            },
        }
        if self.parts:
            recipe["parts"] = {
                component: {key: curve.to_json() for key, curve in sorted(self.parts[component].items())}
                for component in COMPONENTS
                if component in self.parts
            }
        if self.sources:
            recipe["sources"] = dict(self.sources)
        return recipe

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of method, parameters and parts: equal recipes have equal digests, whatever the sources."""
        identity = {key: value for key, value in self.to_json().items() if key != "sources"}
        return hashlib.sha256(json.dumps(identity, sort_keys=True, separators=(",", ":")).encode()).hexdigest()

    def parameters_at(self, place: Place) -> dict[str, Any]:
        """The parameters that hold for one tensor: its component's, else those of the stack it lies in, else all's."""
        found = dict(self.parameters)
        for component in reversed(place.lineage()):
            for key, curve in self.parts.get(component, {}).items():
                found[key] = curve.at(place.depth)
        return found

    def sentence(
        self,
        lang: str,
        name_a: str = "A",
        name_b: str = "B",
        base_name: str | None = None,
        others: Sequence[str] = (),
    ) -> str:
        """The recipe in words, e.g. `70 % A + 30 % B`; `others` are the names of C, D, …"""
        from merger.sentences import recipe_sentence

        return recipe_sentence(self, lang, name_a, name_b, base_name, others)


def unreadable(kind: str, place: tuple[int, int] | None = None) -> BadRecipe:
    """Text that is not of its kind (JSON, YAML), with line and column (from 1) where they are known."""
    if place is None:
        return recipe_fault(f"Рецепт — не {kind}.", f"The recipe is not {kind}.")
    line, column = place
    return recipe_fault(
        f"Рецепт — не {kind}: ошибка в строке {line}, столбце {column}.",
        f"The recipe is not {kind}: there is an error in line {line}, column {column}.",
    )


def repeated_key(key: str) -> BadRecipe:
    """A field that is given twice: which of the two is meant?"""
    return recipe_fault(f"Поле рецепта «{key}» названо дважды.", f"The recipe's field “{key}” is given twice.")


def parse_json(text: str) -> Any:
    """JSON that rejects NaN and repeated keys. Raises BadRecipe."""
    try:
        return json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise unreadable("JSON", (error.lineno, error.colno)) from None
    except (ValueError, RecursionError):  # a number of thousands of digits; brackets in brackets
        raise unreadable("JSON") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise repeated_key(key)
        found[key] = value
    return found


def _no_constant(name: str) -> Any:
    raise recipe_fault(f"В рецепте стоит {name}: это не число.", f"The recipe holds {name}, which is not a number.")


def _foreign(spec: MethodSpec, key: str) -> Fault:
    own = ", ".join(parameter.key for parameter in spec.parameters) or "—"
    return Fault(
        Text(f"У метода {spec.name} нет параметра «{key}».", f"{spec.name} has no parameter “{key}”."),
        Text(f"Параметры метода {spec.name}: {own}.", f"{spec.name} takes: {own}."),
        str(key),
    )


def _read_parts(
    spec: MethodSpec, parts: Mapping[str, Mapping[str, Any]], faults: list[Fault]
) -> dict[Component, Mapping[str, Curve]]:
    tuned: dict[Component, Mapping[str, Curve]] = {}
    for name, settings in parts.items():
        component = next((known for known in COMPONENTS if known == name), None)
        if component is None or not isinstance(settings, Mapping):
            faults.append(_bad_part(str(name)))
            continue
        curves: dict[str, Curve] = {}
        for key, value in settings.items():
            declared = spec.parameter(str(key))
            if declared is None:
                faults.append(_foreign(spec, str(key)))
                continue
            try:
                _check_part(declared, component)
                curves[str(key)] = read_curve(declared, value)
            except BadParameter as error:
                faults.extend(fault.prefixed(component, str(key)) for fault in error.faults)
        if curves:
            tuned[component] = curves
    return tuned


def _bad_part(name: str) -> Fault:
    known = ", ".join(COMPONENTS)
    return Fault(
        Text(f"«{name}» — не часть модели с настройками.", f"“{name}” is no part of the model with settings."),
        Text(f"Части модели: {known}.", f"The parts are: {known}."),
        name,
    )


def _check_part(declared: ParameterSpec, component: Component) -> None:
    control = declared.control
    if control.per_part and (not control.components or component in control.components):
        return
    if control.per_part:
        allowed = ", ".join(control.components)
        remedy = Text(f"Этот параметр действует на: {allowed}.", f"It acts on: {allowed}.")
    else:
        remedy = Text(
            "Этот параметр один на всю модель: задайте его вне частей.",
            "There is one value of it for the whole model: set it outside the parts.",
        )
    raise BadParameter(
        faults=[
            Fault(
                Text(f"{declared.title.ru} здесь не действует.", f"{declared.title.en} has no effect here."),
                remedy,
                declared.key,
            )
        ]
    )
