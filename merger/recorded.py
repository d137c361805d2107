"""The sources that an export's record names: how they are written down, and whether given models are those."""

from __future__ import annotations

import json
import shlex
import unicodedata
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from string import ascii_lowercase
from typing import Any

from merger.bilingual import Text
from merger.checkpoint import HUB_ID, Checkpoint
from merger.engine import BASE
from merger.errors import BadRecipe, Fault
from merger.hashing import SourceHashes

ANY_SOURCES_FLAG = "--other-sources"
# Line breaks and other control characters, halves of surrogate pairs: they would break lines of the card and terminal.
_UNFIT = frozenset({"Cc", "Cs", "Zl", "Zp"})
_OTHERWISE = Text(
    f"Чтобы применить рецепт к другим моделям, добавьте {ANY_SOURCES_FLAG}.",
    f"To use the recipe on other models, add {ANY_SOURCES_FLAG}.",
)


@dataclass(frozen=True)
class RecordedSource:
    """What a record says of one model; `sha256` is that of every weight file by its name."""

    name: str
    sha256: Mapping[str, str]
    hub_id: str | None = None
    revision: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The model as it is written into `recipe.json`."""
        described: dict[str, Any] = {"name": self.name, "sha256": dict(sorted(self.sha256.items()))}
        return described | ({"hub_id": self.hub_id, "revision": self.revision} if self.hub_id else {})

    @classmethod
    def from_json(cls, described: Mapping[str, Any]) -> RecordedSource:
        """Reads what `to_json` wrote. Raises BadRecipe on text unfit for a card, KeyError, TypeError, AttributeError or
        ValueError on anything else."""
        name, hashes = described["name"], dict(described["sha256"].items())
        hub_id, revision = described.get("hub_id"), described.get("revision")
        texts = [name, *hashes, *hashes.values(), hub_id or "", revision or ""]
        if not hashes or not all(isinstance(text, str) for text in texts):
            raise TypeError
        require_fit(name, revision or "")
        if hub_id is not None and not HUB_ID.fullmatch(hub_id):
            raise BadRecipe(faults=[_no_hub_id(hub_id)])
        return cls(name, hashes, hub_id, revision)

    def named(self, model: Checkpoint) -> Checkpoint:
        """The same model under the recorded name, whatever its folder is called now."""
        return replace(model, name=self.name, hub_id=self.hub_id, revision=self.revision)


def recorded_order(sources: Mapping[str, Any]) -> dict[str, list[str]]:
    """`{"order": […]}`, the keys of the models as their weights go; empty where they are called a, b, c, … in turn.

    The record's own keys cannot tell: JSON is written in the order of the alphabet, the base among them.
    """
    models = [key for key in sources if key != BASE]
    return {} if _called_in_turn(models) else {"order": models}


def _called_in_turn(models: list[str]) -> bool:
    return models == list(ascii_lowercase[: len(models)])


@dataclass(frozen=True)
class RecordedSources:
    """The models behind an export by key; in the order of their weights if `ordered`, the base last."""

    sources: Mapping[str, RecordedSource]
    ordered: bool = True

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> RecordedSources:
        """The sources of a record. Raises BadRecipe on text unfit for a card, KeyError, TypeError, AttributeError or
        ValueError if it is malformed."""
        described = record["sources"]
        models = sorted(key for key in described if key != BASE)
        order = record.get("order", models)
        if not models or sorted(order) != models:
            raise ValueError
        require_fit(*order)
        keys = [*order, *([BASE] if BASE in described else [])]
        # Before there was `order` it was lost wherever the models were not called a, b, c, …
        ordered = "order" in record or _called_in_turn(models)
        return cls({key: RecordedSource.from_json(described[key]) for key in keys}, ordered)

    def arranged(self, given: Mapping[str, str]) -> dict[str, str]:
        """Given models in the recorded order, so that each gets its own weight; as they are if names differ."""
        if self.ordered and set(given) == set(self.sources):
            return {key: given[key] for key in self.sources}
        return dict(given)

    def require(self, given: Mapping[str, Checkpoint]) -> dict[str, Checkpoint]:
        """The given models under their recorded names; reads all weights, unless their hashes are remembered.

        Raises BadRecipe if they are not the recorded ones, or if their order is not known.
        """
        hashes = SourceHashes(given).get()
        faults = self._differences(given, hashes)
        if not faults and not self.ordered:
            faults = [self._no_order()]
        if faults:
            raise BadRecipe(faults=faults)
        return {key: self.sources[key].named(model) for key, model in given.items()}

    def _differences(
        self, given: Mapping[str, Checkpoint], hashes: Mapping[str, Mapping[str, str]]
    ) -> list[Fault]:
        faults = []
        for key, known in self.sources.items():
            if key not in given:
                sentence = Text(
                    f"Не указана модель {key} («{known.name}»), из которой сделан результат этого рецепта.",
                    f"The model {key} (“{known.name}”), which this recipe's result was made from, is missing.",
                )
                faults.append(Fault(sentence, _OTHERWISE, key))
            elif known.sha256 != hashes[key]:
                sentence = Text(
                    f"Модель {key} («{given[key].name}») — не та, из которой сделан результат этого рецепта"
                    f" («{known.name}»): у весов другие SHA-256.",
                    f"The model {key} (“{given[key].name}”) is not the one that this recipe's result was made from"
                    f" (“{known.name}”): its weights have another SHA-256.",
                )
                faults.append(Fault(sentence, _OTHERWISE, key))
        for key in given:
            if key not in self.sources:
                sentence = Text(
                    f"Модели {key} («{given[key].name}») в записи рецепта нет.",
                    f"The record of the recipe has no model {key} (“{given[key].name}”).",
                )
                faults.append(Fault(sentence, _OTHERWISE, key))
        right = self._same_under_other_names(given, hashes) if faults else None
        return faults if right is None else [*faults, right]

    def _same_under_other_names(
        self, given: Mapping[str, Checkpoint], hashes: Mapping[str, Mapping[str, str]]
    ) -> Fault | None:
        """Says which flags would be right, where the recorded models are all there."""
        found = {key: tuple(sorted(each.items())) for key, each in hashes.items()}
        wanted = {key: tuple(sorted(known.sha256.items())) for key, known in self.sources.items()}
        if Counter(found.values()) != Counter(wanted.values()):
            return None
        left, flags = dict(found), []
        for key, each in wanted.items():
            match = next(name for name in left if left[name] == each)
            del left[match]
            flags.append(_flag(key, given[match].location))
        return Fault(
            Text("Это те же модели, но под другими именами.", "They are the same models under other names."),
            Text(f"Укажите так: {' '.join(flags)}.", f"Give them so: {' '.join(flags)}."),
        )

    def _no_order(self) -> Fault:
        models = ", ".join(key for key in self.sources if key != BASE)
        return Fault(
            Text(
                f"Рецепт записан старой версией программы: порядок моделей ({models}) в нём не сохранён.",
                f"The recipe was written by an old version of the program: the order of the models ({models}) is lost.",
            ),
            Text(
                f"Укажите модели в том порядке, в каком идут их веса, и добавьте {ANY_SOURCES_FLAG}.",
                f"Give the models in the order of their weights, and add {ANY_SOURCES_FLAG}.",
            ),
        )


def require_fit(*texts: str) -> None:
    """Raises BadRecipe if a name or revision of a source cannot stand in a line of the card or the terminal."""
    for text in texts:
        if any(unicodedata.category(character) in _UNFIT for character in text):
            shown = json.dumps(text)
            sentence = Text(
                f"В записи рецепта имя или ревизия исходной модели содержит управляющие символы: {shown}.",
                f"In the recipe's record the name or revision of a source model holds control characters: {shown}.",
            )
            advice = Text("Уберите их из файла рецепта.", "Remove them from the recipe file.")
            raise BadRecipe(faults=[Fault(sentence, advice)])


def _no_hub_id(hub_id: str) -> Fault:
    shown = json.dumps(hub_id)
    return Fault(
        Text(
            f"В записи рецепта hub_id исходной модели — не имя на Hugging Face Hub: {shown}.",
            f"In the record of the recipe the hub_id of a source model is no name on the Hugging Face Hub: {shown}.",
        ),
        Text(
            "Имя пишется как владелец/модель: буквы, цифры, точка, «_» и «-».",
            "Such a name is written owner/model: letters, digits, a full stop, “_” and “-”.",
        ),
    )


def _flag(key: str, place: str) -> str:
    path = shlex.quote(place)
    known = {"a": f"--model-a {path}", "b": f"--model-b {path}", BASE: f"--base {path}"}
    return known.get(key, f"--model {key}={path}")
