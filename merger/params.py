"""Kinds of parameters: range, default, step, label and help in one place.

From one declaration come the command-line flag, the widget, the check with its message, the help in both languages and
the recipe key. Every kind has `parse` (text → value), `validate` (JSON value → value), `to_json` and `describe`.
(The kinds stay in one file, a little longer than others, so that they can be compared.)
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from merger.bilingual import Text, number
from merger.errors import BadParameter, Fault
from merger.layout import Component

WEIGHT_SUM_TOLERANCE = 1e-6


def bad(sentence: Text, remedy: Text) -> BadParameter:
    """A `BadParameter` with one fault."""
    return BadParameter(faults=[Fault(sentence, remedy)])


def finite(value: Any) -> float | None:
    """`value` as a float if it is a finite number (booleans are not numbers), else None."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        converted = float(value)
    except OverflowError:
        return None
    return converted if math.isfinite(converted) else None


class Control:
    """What all kinds share: a label and a help text, both bilingual."""

    label: Text
    help: Text
    components: tuple[Component, ...] = ()  # that the parameter acts on; empty for all
    kind: ClassVar[str] = ""
    # Whether a recipe may set the parameter per component and as a curve over the blocks.
    per_part: ClassVar[bool] = False

    def parse(self, text: str) -> Any:
        """The value written on a command line. Raises BadParameter."""
        raise NotImplementedError

    def validate(self, value: Any) -> Any:
        """The value of a recipe, checked and in its canonical type. Raises BadParameter."""
        raise NotImplementedError

    def to_json(self, value: Any) -> Any:
        """The canonical value as JSON."""
        return value

    def to_flag(self, value: Any) -> str:
        """The canonical value as it is written on a command line; `parse` reads it back."""
        return str(self.to_json(value))

    def describe(self, lang: str) -> dict[str, Any]:
        """Kind, label, help and limits as JSON, for an interface."""
        described = {"kind": self.kind, "label": self.label.get(lang), "help": self.help.get(lang)}
        return {**described, "per_part": self.per_part, "components": list(self.components), **self.limits(lang)}

    def limits(self, lang: str) -> dict[str, Any]:
        """What is particular to this kind, as JSON."""
        return {}

    def range_text(self) -> Text:
        """What may be given, for help and messages."""
        raise NotImplementedError


def number_from(text: str) -> float:
    """A decimal number; a comma is accepted as the decimal sign, as Russian writes it."""
    try:
        value = float(text.strip().replace(",", "."))
    except ValueError:
        value = math.nan
    if math.isfinite(value):
        return value
    raise bad(
        Text(f"«{text}» — не число.", f"“{text}” is not a number."),
        Text("Укажите число, например 0.5.", "Give a number, such as 0.5."),
    )


@dataclass(frozen=True)
class Slider(Control):
    """A number in [low, high]; `step` is the widget's, any value in the range is valid. `ends` name the two ends."""

    low: float
    high: float
    step: float
    label: Text
    help: Text
    ends: tuple[Text, Text] | None = None
    kind: ClassVar[str] = "slider"
    per_part: ClassVar[bool] = True

    def parse(self, text: str) -> float:
        return self.validate(number_from(text))

    def validate(self, value: Any) -> float:
        checked = finite(value)
        if checked is None or not self.low <= checked <= self.high:
            span = self.range_text()
            raise bad(
                Text(f"нужно {span.ru}, получено {value}.", f"{span.en} is due, {value} was given."),
                Text(f"Укажите {span.ru}.", f"Give {span.en}."),
            )
        return checked

    def to_flag(self, value: float) -> str:
        return repr(value)

    def limits(self, lang: str) -> dict[str, Any]:
        ends = [end.get(lang) for end in self.ends] if self.ends else None
        return {"low": self.low, "high": self.high, "step": self.step, "ends": ends}

    def range_text(self) -> Text:
        return Text(
            f"число от {number(self.low, 'ru')} до {number(self.high, 'ru')}",
            f"a number from {number(self.low, 'en')} to {number(self.high, 'en')}",
        )


def _pair_text(values: Sequence[float]) -> str:
    return ",".join(repr(value) for value in values)


@dataclass(frozen=True)
class WeightPair(Control):
    """Shares of A and B: two numbers ≥ 0 whose sum is 1 within 1e-6. JSON `[0.6, 0.4]`, command line `0.6,0.4`."""

    label: Text
    help: Text
    components: tuple[Component, ...] = ()
    kind: ClassVar[str] = "weight_pair"
    per_part: ClassVar[bool] = True

    def parse(self, text: str) -> tuple[float, float]:
        parts = text.split(";") if ";" in text else text.split(",")
        if len(parts) != 2:
            raise self._not_a_pair(text)
        return self.validate([number_from(part) for part in parts])

    def validate(self, value: Any) -> tuple[float, float]:
        if not isinstance(value, (list, tuple)) or len(value) != 2:
            raise self._not_a_pair(value)
        first, second = finite(value[0]), finite(value[1])
        if first is None or second is None or first < 0 or second < 0:
            raise self._not_a_pair(value)
        if abs(first + second - 1) > WEIGHT_SUM_TOLERANCE:
            total = first + second
            raise bad(
                Text(
                    f"сумма весов должна равняться 1, а {number(first, 'ru')} + {number(second, 'ru')}"
                    f" = {number(total, 'ru')}.",
                    f"the weights must sum to 1, but {number(first, 'en')} + {number(second, 'en')}"
                    f" = {number(total, 'en')}.",
                ),
                Text('Укажите два числа с суммой 1, например "0.6,0.4".', 'Give two numbers that sum to 1: "0.6,0.4".'),
            )
        return first, second

    def _not_a_pair(self, value: Any) -> BadParameter:
        return bad(
            Text(f"нужны {self.range_text().ru}, получено «{value}».", f"{self.range_text().en}; “{value}” was given."),
            Text('Укажите, например, "0.6,0.4".', 'Give, for example, "0.6,0.4".'),
        )

    def to_json(self, value: tuple[float, float]) -> list[float]:
        return list(value)

    def to_flag(self, value: tuple[float, float]) -> str:
        return _pair_text(value)

    def range_text(self) -> Text:
        return Text("два числа через запятую, сумма 1", "two numbers with a comma between them, sum 1")


@dataclass(frozen=True)
class SourceWeights(Control):
    """One weight ≥ 0 per source, or None for equal weights. JSON `[0.5, 0.3, 0.2]`, command line `0.5,0.3,0.2`."""

    label: Text
    help: Text
    kind: ClassVar[str] = "source_weights"
    per_part: ClassVar[bool] = True

    def parse(self, text: str) -> tuple[float, ...] | None:
        if text.strip() == "equal":
            return None
        return self.validate([number_from(part) for part in text.split(";" if ";" in text else ",")])

    def validate(self, value: Any) -> tuple[float, ...] | None:
        if value is None:
            return None
        checked = [finite(item) for item in value] if isinstance(value, (list, tuple)) else []
        numbers = tuple(item for item in checked if item is not None and item >= 0)
        if not numbers or len(numbers) != len(checked) or sum(numbers) <= 0 or not math.isfinite(sum(numbers)):
            raise bad(
                Text(
                    f"нужны {self.range_text().ru}, получено «{value}».",
                    f"{self.range_text().en}; “{value}” was given.",
                ),
                Text('Укажите, например, "0.5,0.3,0.2".', 'Give, for example, "0.5,0.3,0.2".'),
            )
        return numbers

    def to_json(self, value: tuple[float, ...] | None) -> list[float] | None:
        return None if value is None else list(value)

    def to_flag(self, value: tuple[float, ...] | None) -> str:
        return "equal" if value is None else _pair_text(value)

    def range_text(self) -> Text:
        return Text(
            "числа от 0 через запятую, по одному на модель, хотя бы одно больше 0",
            "numbers from 0 with commas, one per model, at least one above 0",
        )


@dataclass(frozen=True)
class Choice(Control):
    """One of several named options: `options` maps the value to its label."""

    options: Mapping[str, Text]
    label: Text
    help: Text
    kind: ClassVar[str] = "choice"

    def parse(self, text: str) -> str:
        return self.validate(text.strip())

    def validate(self, value: Any) -> str:
        if not isinstance(value, str) or value not in self.options:
            raise bad(
                Text(f"нужно {self.range_text().ru}, получено «{value}».", f"{self.range_text().en}; “{value}” given."),
                Text(f"Укажите {self.range_text().ru}.", f"Give {self.range_text().en}."),
            )
        return value

    def limits(self, lang: str) -> dict[str, Any]:
        return {"options": {value: label.get(lang) for value, label in self.options.items()}}

    def range_text(self) -> Text:
        names = list(self.options)
        return Text("одно из: " + ", ".join(names), "one of: " + ", ".join(names))


_TRUE = frozenset({"1", "true", "yes", "on", "да"})
_FALSE = frozenset({"0", "false", "no", "off", "нет"})


@dataclass(frozen=True)
class Toggle(Control):
    """Yes or no."""

    label: Text
    help: Text
    kind: ClassVar[str] = "toggle"

    def parse(self, text: str) -> bool:
        word = text.strip().lower()
        return self.validate(word in _TRUE if word in _TRUE | _FALSE else text)

    def validate(self, value: Any) -> bool:
        if not isinstance(value, bool):
            raise bad(
                Text(f"нужно {self.range_text().ru}, получено «{value}».", f"{self.range_text().en}; “{value}” given."),
                Text("Укажите yes или no.", "Give yes or no."),
            )
        return value

    def to_flag(self, value: bool) -> str:
        return "yes" if value else "no"

    def range_text(self) -> Text:
        return Text("yes или no", "yes or no")


@dataclass(frozen=True)
class Integer(Control):
    """A whole number in [low, high]."""

    low: int
    high: int
    label: Text
    help: Text
    kind: ClassVar[str] = "integer"

    def parse(self, text: str) -> int:
        try:
            value: Any = int(text.strip())
        except ValueError:
            value = text
        return self.validate(value)

    def validate(self, value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not self.low <= value <= self.high:
            span = self.range_text()
            raise bad(
                Text(f"нужно {span.ru}, получено «{value}».", f"{span.en} is due, “{value}” was given."),
                Text(f"Укажите {span.ru}.", f"Give {span.en}."),
            )
        return value

    def limits(self, lang: str) -> dict[str, Any]:
        return {"low": self.low, "high": self.high}

    def range_text(self) -> Text:
        return Text(f"целое от {self.low} до {self.high}", f"a whole number from {self.low} to {self.high}")
