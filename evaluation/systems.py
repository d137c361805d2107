"""What is evaluated: named models and merge recipes, each with a hash that says which weights spoke."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from merger.bilingual import Text
from merger.checkpoint import Checkpoint, open_checkpoint
from merger.compatibility import require_sound
from merger.errors import BadParameter, Fault
from merger.recipe import MergeRecipe
from merger.registry import get_method

Kind = Literal["model", "merge"]


@dataclass(frozen=True)
class System:
    """One thing that transcribes. A model has one source, "a"; a merge has "a", "b" and, if its method asks, "base".

    `key` (SHA-256, hex) names the weights: equal keys, equal weights. `parents` are the names under which the report
    knows a merge's sources; for a model its own.
    """

    name: str
    kind: Kind
    key: str
    sources: Mapping[str, Checkpoint]
    parents: Mapping[str, str]
    recipe: MergeRecipe | None = None

    def describe(self) -> dict[str, Any]:
        """For the report: what it is made of, without paths of the machine."""
        sentence = None
        if self.recipe is not None:
            names = (self.parents["a"], self.parents["b"], self.parents.get("base"))
            sentence = {lang: self.recipe.sentence(lang, *names) for lang in ("ru", "en")}
        return {
            "name": self.name,
            "kind": self.kind,
            "key": self.key,
            "parents": dict(self.parents),
            "recipe": None if self.recipe is None else self.recipe.to_json() | {"digest": self.recipe.digest},
            "sentence": sentence,
            "known_as": sorted(self.known_as()),
            "sources": {key: {"name": c.name, "fingerprint": c.fingerprint()} for key, c in self.sources.items()},
        }

    def known_as(self) -> set[str]:
        """Names by which a manifest's `seen_by` may mean one of its sources, in lower case."""
        names = {self.name, *self.parents.values()}
        for checkpoint in self.sources.values():
            names |= {checkpoint.name, checkpoint.location, checkpoint.hub_id or ""}
        return {name.lower() for name in names if name}


def plan_systems(models: Mapping[str, str], recipes: Sequence[tuple[str, MergeRecipe]]) -> list[System]:
    """Open every checkpoint (headers only) and settle what each recipe merges.

    A recipe's sources are those it names; else the models named "a", "b", "base" (any case); else the first two models
    that are not called "base". Raises BadParameter, and what `open_checkpoint` raises.
    """
    names = [*models, *(name for name, _ in recipes)]
    if doubled := sorted({name for name in names if names.count(name) > 1}):
        raise _bad(Text(f"имя занято дважды: {doubled[0]}", f"the name {doubled[0]} is used twice"))
    opened = {name: open_checkpoint(location) for name, location in models.items()}
    systems = [model_system(name, checkpoint) for name, checkpoint in opened.items()]
    for name, recipe in recipes:
        systems.append(_merge(name, recipe, opened))
    if not systems:
        raise _bad(Text("не названо ни одной модели", "no model was named"))
    return systems


def _merge(name: str, recipe: MergeRecipe, models: Mapping[str, Checkpoint]) -> System:
    by_name = {given.lower(): given for given in models}
    others = [given for given in models if given.lower() != "base"]
    if not {"a", "b"} <= by_name.keys():
        by_name |= dict(zip(("a", "b"), others, strict=False))
    needed = ["a", "b", *(["base"] if get_method(recipe.method).needs_base else [])]
    sources: dict[str, Checkpoint] = {}
    parents: dict[str, str] = {}
    for key in needed:
        if key in recipe.sources:
            sources[key] = open_checkpoint(recipe.sources[key])
            parents[key] = sources[key].name
        elif key in by_name:
            sources[key], parents[key] = models[by_name[key]], by_name[key]
        else:
            raise _bad(Text(f"рецепту {name} не хватает модели «{key}»", f"the recipe {name} lacks its model “{key}”"))
    return merge_system(name, recipe, sources, parents)


def model_system(name: str, checkpoint: Checkpoint) -> System:
    """A model as it is. Raises IncompatibleModels for one that contradicts its own config."""
    require_sound(checkpoint)
    return System(name, "model", checkpoint.fingerprint(), {"a": checkpoint}, {"a": name})


def merge_system(
    name: str, recipe: MergeRecipe, sources: Mapping[str, Checkpoint], parents: Mapping[str, str]
) -> System:
    """A mixture of exactly these sources; `parents`: what the report calls them."""
    identity = [recipe.digest, *(checkpoint.fingerprint() for checkpoint in sources.values())]
    digest = hashlib.sha256("\n".join(identity).encode()).hexdigest()
    return System(name, "merge", digest, sources, parents, recipe)


def _bad(text: Text) -> BadParameter:
    remedy = Text("Пример: --model a=ПАПКА --model b=ПАПКА.", "For example: --model a=FOLDER --model b=FOLDER.")
    return BadParameter(faults=[Fault(Text(text.ru.capitalize() + ".", text.en.capitalize() + "."), remedy)])


@dataclass
class Loader:
    """Holds the weights of one system at a time, and those of a pair for as long as recipes of that pair follow.

    device, dtype: as `merger.live.LiveMerge` takes them.
    """

    device: str = "auto"
    dtype: str | None = None
    _pair: tuple[str, ...] = ()
    _live: Any = None
    warnings: dict[str, tuple[Text, ...]] = field(default_factory=dict)

    @contextmanager
    def load(self, system: System) -> Iterator[tuple[Any, Any]]:
        """(transformers module in eval mode, processor), valid inside the `with` block."""
        if system.recipe is None:
            self.close()
            yield self._module(system.sources["a"]), processor(system.sources["a"])
            return
        live = self._live_of(system)
        applied = live.apply(system.recipe)
        self.warnings[system.name] = applied.warnings
        with live.lend("merged") as module:
            yield module, processor(system.sources["a"])

    def _module(self, checkpoint: Checkpoint) -> Any:
        from merger.layout import TIED_HEAD
        from merger.live.flat import FlatLayout
        from merger.live.loading import choose_device, choose_dtype, load_flat
        from merger.live.modules import build_module

        device = choose_device(self.device)
        weights = checkpoint.weights()
        shapes = {name: entry.shape for name, entry in weights.items()}
        layout = FlatLayout.of(shapes, checkpoint.config, tied=TIED_HEAD not in weights)
        buffer = load_flat(checkpoint, layout, choose_dtype(self.dtype, device, checkpoint), device)
        return build_module(checkpoint.config, checkpoint.folder, layout, buffer)

    def _live_of(self, system: System) -> Any:
        from merger.live import LiveMerge

        pair = tuple(checkpoint.fingerprint() for checkpoint in system.sources.values())
        if pair != self._pair:
            self.close()
            sources = system.sources
            self._live = LiveMerge(
                sources["a"], sources["b"], sources.get("base"), device=self.device, dtype=self.dtype
            )
            self._pair = pair
        return self._live

    def close(self) -> None:
        """Let go of the pair."""
        if self._live is not None:
            self._live.close()
        self._live, self._pair = None, ()


def processor(checkpoint: Checkpoint) -> Any:
    """The checkpoint's own WhisperProcessor."""
    from transformers import WhisperProcessor

    return WhisperProcessor.from_pretrained(checkpoint.folder)
