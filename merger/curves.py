"""A parameter's values over the depth of a stack: one value, or anchors with straight lines between them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from merger.bilingual import Text
from merger.errors import BadParameter, Fault
from merger.params import Control
from merger.registry import ParameterSpec

MAX_ANCHORS = 64


@dataclass(frozen=True)
class Curve:
    """Anchors of one parameter, spread evenly over the depth 0 … 1 of a stack; a single anchor is a constant."""

    anchors: tuple[Any, ...]
    control: Control

    def at(self, depth: float) -> Any:
        """The value at a depth: exact at anchors, linear between two neighbours."""
        position = depth * (len(self.anchors) - 1)
        left = min(int(position), len(self.anchors) - 1)
        share = position - left
        if share == 0:
            return self.anchors[left]
        return _between(self.anchors[left], self.anchors[left + 1], share)

    def to_json(self) -> Any:
        """One value, or the list of anchors."""
        values = [self.control.to_json(anchor) for anchor in self.anchors]
        return values[0] if len(values) == 1 else values


def _between(left: Any, right: Any, share: float) -> Any:
    if isinstance(left, tuple):
        return tuple(_between(one, other, share) for one, other in zip(left, right, strict=True))
    return left + (right - left) * share


def is_list_of_anchors(control: Control, value: Any) -> bool:
    """Whether a JSON value is a list of anchors: for weights a list of lists, for a number a list of numbers."""
    if not isinstance(value, (list, tuple)):
        return False
    return control.kind == "slider" or any(isinstance(item, (list, tuple)) for item in value)


def read_curve(declared: ParameterSpec, value: Any) -> Curve:
    """A curve from JSON: a value or a list of anchors. Raises BadParameter."""
    anchors = list(value) if is_list_of_anchors(declared.control, value) else [value]
    if not 1 <= len(anchors) <= MAX_ANCHORS:
        raise _bad_anchors(declared, Text(f"их может быть от 1 до {MAX_ANCHORS}", f"1 to {MAX_ANCHORS} of them"))
    checked = tuple(declared.validate(anchor) for anchor in anchors)
    if len({len(anchor) if isinstance(anchor, tuple) else 0 for anchor in checked}) > 1 or None in checked[1:]:
        raise _bad_anchors(declared, Text("в каждом — поровну чисел", "each with as many numbers as the others"))
    return Curve(checked, declared.control)


def parse_curve(declared: ParameterSpec, text: str) -> Any:
    """The JSON form of a curve written on a command line: `0.2,0.5,0.8`, for weights `0.6,0.4/0.5,0.5`."""
    if declared.control.kind == "slider":
        values = [declared.parse(part) for part in text.split(",")]
        return values[0] if len(values) == 1 else values
    anchors = [declared.control.to_json(declared.parse(part)) for part in text.split("/")]
    return anchors[0] if len(anchors) == 1 else anchors


def _bad_anchors(declared: ParameterSpec, rule: Text) -> BadParameter:
    example = "[0.2, 0.5, 0.8]" if declared.control.kind == "slider" else "[[0.6, 0.4], [0.5, 0.5]]"
    return BadParameter(
        faults=[
            Fault(
                Text(
                    f"{declared.title.ru}: кривая — это список опорных значений, {rule.ru}.",
                    f"{declared.title.en}: a curve is a list of anchors, {rule.en}.",
                ),
                Text(f"Пример: {example}.", f"For example: {example}."),
                declared.key,
            )
        ]
    )
