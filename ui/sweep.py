"""Many recipes on many clips: each merge is made once and hears every clip. Can be paused, and is bounded."""

from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from typing import Any

from evaluation.scores import compare
from merger.bilingual import Text
from merger.recipe import MergeRecipe
from merger.registry import methods
from ui.catalog import PRESETS
from ui.comparison import Mixture
from ui.errors import ClipNotChosen, bad_recipe, bilingual
from ui.sessions import Session
from ui.views import action
from ui.worker import Job
from ui.workshop import Workshop

STEPS = tuple(round(0.1 * step, 2) for step in range(11))
SEARCH_BUDGET = 32  # recipes that the search may try
AXES = {
    "alpha": ("direct", "direct_alpha"),
    "t": ("slerp", "slerp_t"),
    "density": ("ties", "ties_density"),
}


@dataclass
class Trial:
    """One recipe of a sweep with what was heard so far. `side`: a parent is heard as it is, without a merge."""

    recipe: MergeRecipe
    side: str = "merged"
    x: float | None = None
    cells: dict[str, dict[str, Any]] = field(default_factory=dict)
    edits: int = 0
    words: int = 0

    @property
    def wer(self) -> float | None:
        """Pooled over the clips that have a reference."""
        return self.edits / self.words if self.words else None

    def take(self, clip_id: str, text: str, reference: str | None) -> None:
        """What was heard of a clip, scored where it is known what was really said."""
        self.cells[clip_id] = {"text": text, "wer": None}
        if reference:
            scored = compare(reference, text)
            words = len(scored.reference_words)
            self.edits, self.words = self.edits + scored.word_edits, self.words + words
            self.cells[clip_id]["wer"] = scored.word_edits / words if words else None


def plan(kind: str, current: MergeRecipe, with_base: bool = False) -> list[Trial]:
    """The recipes of a sweep. "methods": both parents, the guide's presets and the current recipe; "each": every
    registered method as it is without settings, those with a base where there is one; else one axis.

    Raises BadRecipe for a kind that does not exist.
    """
    parents = [
        Trial(MergeRecipe.build("direct", {"direct_alpha": 1.0}), "a"),
        Trial(MergeRecipe.build("direct", {"direct_alpha": 0.0}), "b"),
    ]
    if kind == "methods":
        recipes = [current, MergeRecipe.build("direct"), MergeRecipe.build("slerp"), *(one.recipe for one in PRESETS)]
        unique = {recipe.digest: recipe for recipe in recipes}
        return [*parents, *(Trial(recipe) for recipe in unique.values())]
    if kind == "each":
        usable = [name for name, spec in methods().items() if with_base or not spec.needs_base]
        return [*parents, *(Trial(MergeRecipe.build(name)) for name in usable)]
    if kind in AXES:
        method, key = AXES[kind]
        fixed = dict(current.parameters) if current.method == method else {}
        return [Trial(MergeRecipe.build(method, {**fixed, key: step}), x=step) for step in STEPS]
    raise bad_recipe(Text("Нет такого прогона.", "There is no such sweep."), Text("Обновите страницу.", "Reload."))


class Search:
    """A bounded search for the recipe with the lowest WER: the guide's recipes first, then the best one's neighbours.

    Each round moves one parameter of the best recipe up and down by a step that is halved when nothing gets better.
    """

    def __init__(self, budget: int = SEARCH_BUDGET) -> None:
        self.budget = budget
        self._tried: dict[str, float] = {}
        self._recipes: dict[str, MergeRecipe] = {}

    def told(self, recipe: MergeRecipe, wer: float) -> None:
        self._tried[recipe.digest] = wer
        self._recipes[recipe.digest] = recipe

    @property
    def best(self) -> MergeRecipe:
        return self._recipes[min(self._tried, key=lambda digest: self._tried[digest])]

    def candidates(self) -> Iterator[MergeRecipe]:
        """Recipes to try; the caller tells each one's WER before it takes the next."""
        starts = [MergeRecipe.build("direct"), MergeRecipe.build("slerp"), *(one.recipe for one in PRESETS)]
        yield from self._new(starts)
        for step in (0.2, 0.1, 0.05):
            before = None
            while before != self.best.digest and len(self._tried) < self.budget:
                before = self.best.digest
                for neighbour in neighbours(self.best, step):
                    yield from self._new([neighbour])

    def _new(self, recipes: list[MergeRecipe]) -> Iterator[MergeRecipe]:
        for recipe in recipes:
            if recipe.digest not in self._tried and len(self._tried) < self.budget:
                yield recipe


def neighbours(recipe: MergeRecipe, step: float) -> list[MergeRecipe]:
    """The recipe with each of its numbers moved by ± step, inside its range; a pair keeps its sum of 1."""
    found = []
    for declared in recipe.spec.parameters:
        value = recipe.parameters[declared.key]
        for move in (-step, step):
            if declared.control.kind == "slider":
                low, high = declared.control.low, declared.control.high  # type: ignore[attr-defined]
                moved: Any = round(min(high, max(low, value + move)), 4)
            elif declared.control.kind == "weight_pair":
                first = round(min(1.0, max(0.0, value[0] + move)), 4)
                moved = [first, round(1 - first, 4)]
            else:
                continue
            found.append(MergeRecipe.build(recipe.method, {**recipe.parameters, declared.key: moved}))
    return [one for one in found if one.digest != recipe.digest]


@action("sweep.start")
def start(workshop: Workshop, session: Session, payload: dict[str, Any]) -> None:
    kind = str(payload["kind"])
    clip_ids = list(dict.fromkeys(str(one) for one in payload.get("clips") or []))  # the samples and one shelf at most
    if not clip_ids:
        raise ClipNotChosen()
    entries = [workshop.clips.find(session.owner, clip_id) for clip_id in clip_ids]
    current, models = session.mixture()
    sources = workshop.sources(models, current if kind == "methods" else MergeRecipe.build("direct"))
    spoken = {clip.id: session.references.get(clip.id, clip.reference) or None for clip in entries}
    if kind == "best" and not any(spoken.values()):
        raise bad_recipe(
            Text("Ни у одной записи нет эталона.", "None of the recordings has a reference."),
            Text("Впишите эталон на экране «Слушать».", "Write a reference on the Listen screen."),
        )
    trials: list[Trial] = [] if kind == "best" else plan(kind, current, "base" in sources)
    expected = SEARCH_BUDGET if kind == "best" else len(trials)
    head = {"kind": kind, "clips": [{**clip.to_json(), "reference": spoken[clip.id]} for clip in entries]}

    def publish(job: Job) -> None:
        session.publish(
            sweep={
                **head,
                "rows": [_row(workshop, models, trial) for trial in trials],
                "expected": expected,
                "best": _best(trials),
                "job": workshop.worker.to_json(job),
            }
        )

    def hear_all(job: Job, trial: Trial, number: int) -> Generator[None, None, None]:
        for place, clip in enumerate(entries):
            job.report(
                "sweep", number * len(entries) + place, expected * len(entries),
                name=bilingual(workshop.sentence(trial.recipe, models)),
            )  # fmt: skip
            pair = workshop.pairs.get(sources)
            mixture = Mixture(trial.recipe, pair.fingerprints)
            sound = workshop.clips.sound(session.owner, clip.id)
            heard = workshop.listener.hear(trial.side, pair, mixture, sound, job.cancelled)
            trial.take(clip.id, heard.transcript.text, spoken[clip.id])
            yield

    def work(job: Job) -> Generator[None, None, None]:
        yield from workshop.loaded(job, sources)
        if kind != "best":
            for number, trial in enumerate(trials):
                yield from hear_all(job, trial, number)
            return
        search = Search()
        for recipe in search.candidates():
            trial = Trial(recipe)
            trials.append(trial)
            yield from hear_all(job, trial, len(trials) - 1)
            search.told(recipe, trial.wer if trial.wer is not None else float("inf"))

    for running in workshop.worker.jobs(session.owner):
        if running.kind == "sweep":
            workshop.worker.cancel(session.owner, running.id)
    job = workshop.worker.submit(session.owner, "sweep", work, lane="batch")
    workshop.follow(session, job, publish)


def _row(workshop: Workshop, models: dict[str, str | None], trial: Trial) -> dict[str, Any]:
    names = workshop.models.names(models)
    said = names[trial.side] if trial.side in {"a", "b"} else workshop.sentence(trial.recipe, models)
    return {
        "digest": trial.recipe.digest,
        "recipe": trial.recipe.to_json(),
        "side": trial.side,
        "x": trial.x,
        "sentence": bilingual(said),
        "cells": dict(trial.cells),
        "wer": trial.wer,
        "words": trial.words,
    }


def _best(trials: list[Trial]) -> str | None:
    """Digest of the merged recipe with the lowest WER among those heard on as many words as any."""
    most = max((trial.words for trial in trials), default=0)
    whole = [trial for trial in trials if trial.words == most and trial.wer is not None and trial.side == "merged"]
    return min(whole, key=lambda trial: trial.wer or 0.0).recipe.digest if whole and most else None
