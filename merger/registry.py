"""One declaration per merge method; everything else is derived from it.

    @merge_method(title=…, summary=…, space="weights", sources="two", guide=True)
    def direct(view: TensorView, *, direct_alpha: Annotated[float, Slider(…)] = 0.5) -> Operator: …

A method looks at one tensor through a `TensorView` (as much as it needs: nothing, the Gram matrix, an exact selection
of the largest differences) and returns the elementwise `Operator` that merges it. The same function therefore merges a
whole tensor at once, streams a file in chunks, and runs on numpy and torch alike.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin, get_type_hints

from merger.bilingual import Text
from merger.errors import BadParameter, Fault
from merger.params import Control

if TYPE_CHECKING:
    from merger.arrays import Array
    from merger.layout import Place
    from merger.operators import Operator

Space = Literal["weights", "delta"]
Planner = Callable[..., "Operator"]
# Turns the parameters of a method that failed into those of `direct`: (parameters, per-component settings).
Fallback = Callable[[Mapping[str, Any]], tuple[dict[str, Any], dict[str, dict[str, Any]]]]


@dataclass(frozen=True)
class ParameterSpec:
    """One parameter of a method: recipe key, command-line flag, default and control."""

    key: str
    default: Any
    control: Control

    @property
    def flag(self) -> str:
        """The command-line flag, e.g. `--ties-density`."""
        return "--" + self.key.replace("_", "-")

    @property
    def title(self) -> Text:
        """What a recipe's reader knows it by: the label and the key, e.g. `“Density” (ties_density)`."""
        label = self.control.label
        return Text(f"«{label.ru}» ({self.key})", f"“{label.en}” ({self.key})")

    def validate(self, value: Any) -> Any:
        """The checked value. Raises BadParameter, whose fault names the parameter by its title."""
        try:
            return self.control.validate(value)
        except BadParameter as error:
            raise self._named(error, self.title) from None

    def parse(self, text: str) -> Any:
        """The value written on a command line. Raises BadParameter, whose fault names the flag."""
        try:
            return self.control.parse(text)
        except BadParameter as error:
            raise self._named(error, self.flag) from None

    def _named(self, error: BadParameter, name: Text | str) -> BadParameter:
        return BadParameter(faults=[fault.prefixed(name, self.key) for fault in error.faults])

    def to_json(self, lang: str) -> dict[str, Any]:
        """The declaration as JSON: key, flag, default, kind, label, help, limits."""
        described = self.control.describe(lang)
        return {"key": self.key, "flag": self.flag, "default": self.control.to_json(self.default), **described}


@dataclass(frozen=True)
class MethodSpec:
    """What is known of a method; `plan` is its function."""

    name: str
    title: Text
    summary: Text
    space: Space
    sources: Literal["two", "many"]
    guide: bool
    paper: str
    parameters: tuple[ParameterSpec, ...]
    plan: Planner = field(repr=False)
    # Parameters with which the result is A bit for bit; None if the method has no such end.
    endpoint: Mapping[str, Any] | None = None
    # Parameters after A and B have changed places; None if the method is not symmetric.
    mirror: Callable[[Mapping[str, Any]], dict[str, Any]] | None = None
    fallback: Fallback | None = None
    # Sees the whole model (a `ModelView`) before the first tensor is merged, e.g. for a threshold over all tensors;
    # what it returns reaches the method as `view.survey`.
    survey: Callable[..., Any] | None = None

    @property
    def needs_base(self) -> bool:
        """Whether the common base model has to be given."""
        return self.space == "delta"

    @property
    def defaults(self) -> dict[str, Any]:
        """Every parameter at its default."""
        return {parameter.key: parameter.default for parameter in self.parameters}

    def parameter(self, key: str) -> ParameterSpec | None:
        """The parameter with this key, if the method has it."""
        return next((parameter for parameter in self.parameters if parameter.key == key), None)

    def merge(self, sources: Sequence[Array], base: Array | None, place: Place, **parameters: Any) -> Array:
        """Merge one whole tensor: the plain form of the method.

        `sources` and `base` are float32 arrays of `place.shape`, numpy or torch (any device); the result is a new array
        of the same kind and shape. Parameters left out take their defaults. The inputs are not modified.
        """
        from merger.views import WholeTensor

        view = WholeTensor(place, tuple(sources), base if self.needs_base else None)
        operator = self.plan(view, **{**self.defaults, **parameters})
        return operator(view.whole()).reshape(place.shape)

    def to_json(self, lang: str) -> dict[str, Any]:
        """The declaration as JSON, for an interface or a script."""
        return {
            "name": self.name,
            "title": self.title.get(lang),
            "summary": self.summary.get(lang),
            "space": self.space,
            "needs_base": self.needs_base,
            "sources": self.sources,
            "guide": self.guide,
            "paper": self.paper,
            "parameters": [parameter.to_json(lang) for parameter in self.parameters],
        }


_METHODS: dict[str, MethodSpec] = {}


def merge_method(
    *,
    title: Text,
    summary: Text,
    space: Space = "weights",
    sources: Literal["two", "many"] = "many",
    guide: bool = False,
    paper: str = "",
    endpoint: Mapping[str, Any] | None = None,
    mirror: Callable[[Mapping[str, Any]], dict[str, Any]] | None = None,
    fallback: Fallback | None = None,
    survey: Callable[..., Any] | None = None,
) -> Callable[[Planner], Planner]:
    """Register a function as a merge method; its keyword-only parameters are its declaration.

    Raises TypeError if a parameter has no control or its default is outside its own range.
    """

    def register(function: Planner) -> Planner:
        name = function.__name__.replace("_", "-")
        _METHODS[name] = MethodSpec(
            name, title, summary, space, sources, guide, paper, _declared(function), function,
            endpoint, mirror, fallback, survey,
        )
        return function

    return register


def _declared(function: Planner) -> tuple[ParameterSpec, ...]:
    hints = get_type_hints(function, include_extras=True)
    specs = []
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind is not inspect.Parameter.KEYWORD_ONLY:
            continue
        hint = hints[parameter.name]
        control = get_args(hint)[1] if get_origin(hint) is Annotated else None
        if not isinstance(control, Control):
            raise TypeError(f"{function.__name__}: parameter {parameter.name} declares no control")
        specs.append(ParameterSpec(parameter.name, control.validate(parameter.default), control))
    return tuple(specs)




def methods() -> dict[str, MethodSpec]:
    """All methods in display order: the guide's first."""
    import_module("merger.methods")
    return dict(_METHODS)


def get_method(name: str) -> MethodSpec:
    """The method of this name. Raises BadParameter with the names that exist."""
    known = methods()
    if name in known:
        return known[name]
    names = ", ".join(known)
    raise BadParameter(
        faults=[
            Fault(
                Text(f"Нет метода «{name}».", f"There is no method “{name}”."),
                Text(f"Есть методы: {names}.", f"The methods are: {names}."),
                "method",
            )
        ]
    )
