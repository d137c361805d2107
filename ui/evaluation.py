"""The evaluation screen: a set of recordings, the systems to compare, a run in the background, its report.

A run is three jobs in a row: the set is read (on the disk's thread), heard (on the device's, one clip at a time), and
scored (on the disk's again). What it is made of lies in its folder, so that a run that was stopped, or that a restart
of the server cut off, goes on where it was.
"""

import json
from collections.abc import Callable, Generator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from evaluation.errors import BadManifest
from evaluation.evaluate import report
from evaluation.manifest import Manifest
from evaluation.predictions import Prediction
from evaluation.report.page import render
from evaluation.results import Results
from evaluation.runner import run_steps
from evaluation.verdicts import plain_verdict, what_lacks
from merger.bilingual import LANGUAGES, Text
from merger.errors import Fault
from merger.recipe import MergeRecipe
from ui.clips import clean_name
from ui.errors import bad_recipe, bilingual
from ui.evaluation_run import SharedDevice, Voice, read_set, run_options, voices
from ui.models import taking_part
from ui.reports import Reports
from ui.sessions import Session
from ui.views import action
from ui.worker import Job, JobState
from ui.workshop import Workshop

KIND = "evaluation"
MOST_RECIPES = 6  # of the history, beside the current one
SEARCHED = 200  # experiments in which recipes are looked for
STOP_SECONDS = 20.0
MOST_FAULTS = 60  # lines of a bad manifest that the page lists


def reports_of(workshop: Workshop) -> Reports:
    return Reports(workshop.settings.data / "evaluations")


@action("evaluation.offer")
def offer(workshop: Workshop, session: Session, payload: dict[str, Any]) -> dict[str, Any]:
    """What can be chosen: the samples, limits of an upload, recipes of the history; and the evaluations so far."""
    settings, samples = workshop.settings, workshop.clips.samples
    return {
        "samples": {"clips": len(samples), "seconds": sum(clip.seconds for clip in samples)},
        "base": bool(session.models.get("base")),
        "recipes": [
            {"digest": recipe.digest, "sentence": bilingual(workshop.sentence(recipe, session.models))}
            for recipe in kept_recipes(workshop, session).values()
        ],
        "limits": {
            "mb": min(settings.max_archive_mb, settings.largest_file // 1_000_000),
            "lines": settings.max_manifest_lines,
            "minutes": settings.max_evaluation_minutes,
        },
        "past": [_listed(workshop, session, told) for told in reports_of(workshop).listed(session.owner)],
    }


def _listed(workshop: Workshop, session: Session, told: Mapping[str, Any]) -> dict[str, Any]:
    """One line of the list; what claims to run though nobody runs it was cut off by a restart."""
    state = told["state"]
    running = session.notes.get(KIND) == told["id"] and _unfinished(workshop, session)
    return {
        **{key: told.get(key) for key in ("id", "created", "name", "verdict")},
        "state": "interrupted" if state == "running" and not running else state,
    }


def kept_recipes(workshop: Workshop, session: Session) -> dict[str, MergeRecipe]:
    """Recipes of this person's experiments with the chosen models, starred ones first, without the current one."""
    found: dict[str, MergeRecipe] = {}
    kept = workshop.store.experiments(session.owner, limit=SEARCHED)
    for one in sorted(kept, key=lambda one: not one.starred):
        try:
            recipe = MergeRecipe.from_json(one.recipe)
        except Exception:  # of a method that is no longer there
            continue
        used = {role: source.get("location") for role, source in one.sources.items()}
        if used == taking_part(recipe, session.models) and recipe.digest != session.recipe.digest:
            found.setdefault(recipe.digest, recipe)
    return dict(list(found.items())[:MOST_RECIPES])


@action("evaluation.start")
def start(workshop: Workshop, session: Session, payload: dict[str, Any]) -> None:
    """Begins a run; an unfinished one of this person is stopped, and can go on later."""
    kept = kept_recipes(workshop, session)
    recipe, models = session.mixture()
    recipes = [recipe, *(kept[one] for one in map(str, payload.get("recipes") or []) if one in kept)]
    roles = [role for role in ("base", "a", "b") if role in (payload.get("systems") or ())]
    workshop.sources(models, recipe)  # what cannot be merged is told before anything is read
    lang = str(payload.get("lang"))
    _stop_running(workshop, session)
    told = reports_of(workshop).new(
        session.owner,
        lang=lang if lang in LANGUAGES else workshop.settings.lang,
        **_set(workshop, payload),
        models=models,
        roles=roles,
        recipes=[recipe.to_json() for recipe in recipes],
    )
    Run(workshop, session, told).begin()


def _set(workshop: Workshop, payload: Mapping[str, Any]) -> dict[str, Any]:
    if payload.get("source") == "archive":
        name = clean_name(str(payload.get("name") or "zip"))
        path = workshop.clips.uploaded(str(payload.get("path")), name)
        source = {"kind": "archive", "path": str(path), "skip_bad": bool(payload.get("skip_bad"))}
        return {"name": bilingual(Text(name, name)), "source": source}
    if not workshop.clips.samples:
        raise bad_recipe(
            Text("Примеров на этом сервере нет.", "This server has no samples."),
            Text("Загрузите свой набор.", "Upload a set of your own."),
        )
    return {"name": bilingual(Text("Примеры", "Samples")), "source": {"kind": "samples"}}


@action("evaluation.resume")
def resume(workshop: Workshop, session: Session, payload: dict[str, Any]) -> None:
    """Goes on with a run that was stopped or cut off, or whose bad lines are now to be left out."""
    reports, name = reports_of(workshop), str(payload["id"])
    told = reports.summary(session.owner, name)
    if told["state"] == "done":
        show(workshop, session, payload)
        return
    _stop_running(workshop, session)
    if payload.get("skip_bad"):
        told = reports.note(session.owner, name, source={**told["source"], "skip_bad": True})
    Run(workshop, session, reports.note(session.owner, name, state="running", faults=None, error=None)).begin()


@action("evaluation.show")
def show(workshop: Workshop, session: Session, payload: dict[str, Any]) -> None:
    """Puts an earlier evaluation on the page."""
    session.publish(evaluation={**reports_of(workshop).summary(session.owner, str(payload["id"])), "job": None})


@action("evaluation.file")
def file(workshop: Workshop, session: Session, payload: dict[str, Any]) -> str:
    """A report, as text: only its owner gets it, and the page shows it in a frame that may do nothing."""
    return reports_of(workshop).file(session.owner, str(payload["id"]), str(payload["name"]))


@action("evaluation.forget")
def forget(workshop: Workshop, session: Session, payload: dict[str, Any]) -> None:
    name = str(payload["id"])
    reports_of(workshop).folder(session.owner, name)
    if session.notes.get(KIND) == name:
        _stop_running(workshop, session)
    reports_of(workshop).forget(session.owner, name)
    if (session.get("evaluation") or {}).get("id") == name:
        session.publish(evaluation=None)


def _unfinished(workshop: Workshop, session: Session) -> list[Job]:
    return [job for job in workshop.worker.jobs(session.owner) if job.kind == KIND and not job.wait(0)]


def _stop_running(workshop: Workshop, session: Session) -> None:
    while running := _unfinished(workshop, session):  # more than once: one job of a run may just begin the next
        for job in running:
            workshop.worker.cancel(session.owner, job.id)
        # Waited for, so that nothing is written any more where the next run begins.
        if not all(job.wait(STOP_SECONDS) for job in running):
            return


class Run:
    """One run's three jobs; each begins the next."""

    def __init__(self, workshop: Workshop, session: Session, told: dict[str, Any]) -> None:
        self._workshop, self._session, self._told = workshop, session, told
        self._reports = reports_of(workshop)
        self._folder = self._reports.folder(session.owner, told["id"])
        self._recipes = [MergeRecipe.from_json(recipe) for recipe in told["recipes"]]
        self._sources = workshop.sources(told["models"], self._recipes[0])
        self._job: str | None = None  # the one of the three that is under way

    def begin(self) -> None:
        self._session.notes[KIND] = self._told["id"]
        self._submit("disk", self._read)

    def _submit(
        self, lane: str, work: Callable[[Job], Generator[None, None, None]], after: Job | None = None
    ) -> None:
        with self._session.lock:  # the next one may be over, and have begun another, before this one is taken note of
            if after is not None:
                after.check()
            job = self._workshop.worker.submit(
                self._session.owner, KIND, work, lane=lane, supersede=after is None, sequel=after is not None
            )
            self._job = job.id
            self._workshop.follow(self._session, job, self._show)

    def _show(self, job: Job) -> None:
        """The run as the page sees it; an end that was not wanted is written down."""
        if job.id != self._job:  # the next one has been begun
            return
        if job.state in {JobState.FAILED, JobState.CANCELLED} and self._told["state"] == "running":
            self._note(state=str(job.state), error=job.error)
        if self._session.notes.get(KIND) == self._told["id"]:
            self._session.publish(evaluation={**self._told, "job": self._workshop.worker.to_json(job)})

    def _note(self, **changes: Any) -> None:
        self._told = self._reports.note(self._session.owner, self._told["id"], **changes)

    def _read(self, job: Job) -> Generator[None, None, None]:
        job.report("evaluation.read", n=0)
        yield
        try:
            manifest = read_set(self._workshop.settings, self._told["source"], self._folder, job)
        except BadManifest as error:
            self._note(faults=told_faults(error.faults))
            raise
        self._note(
            clips=len(manifest.entries), seconds=manifest.seconds,
            skipped=told_faults(manifest.skipped) if manifest.skipped else None,
        )  # fmt: skip
        self._submit("batch", partial(self._listen, manifest), after=job)

    def _listen(self, manifest: Manifest, job: Job) -> Generator[None, None, None]:
        workshop, told = self._workshop, self._told
        yield from workshop.loaded(job, self._sources)
        speaking = voices(workshop, told["models"], self._sources, told["roles"], self._recipes, told["lang"])
        device = SharedDevice(workshop, job, self._sources, speaking, len(manifest.entries))
        steps = run_steps(
            manifest, [voice.system for voice in speaking], self._folder, run_options(workshop.settings), device,
            resume=True, piece=1,
        )  # fmt: skip
        while True:
            try:
                now = next(steps)
            except StopIteration as finished:
                self._submit("disk", partial(self._score, manifest, speaking, finished.value), after=job)
                return
            job.report("evaluation.listen", now.done_clips, now.total_clips, name=now.system)
            yield

    def _score(
        self, manifest: Manifest, speaking: list[Voice], predictions: list[Prediction], job: Job
    ) -> Generator[None, None, None]:
        job.report("evaluation.score")
        yield
        note = json.loads((self._folder / "run.json").read_text(encoding="utf-8"))
        results = write_reports(manifest, predictions, note, self._folder, self._told["lang"])
        self._reports.drop_audio(self._session.owner, self._told["id"])
        self._note(state="done", **said(results, speaking, self._workshop.models.names(self._told["models"])))


def write_reports(
    manifest: Manifest, predictions: list[Prediction], note: Mapping[str, Any], folder: Path, lang: str
) -> Results:
    """JSON, CSV, and a page in each language, all of the same cells."""
    results, page = report(manifest, predictions, note, folder, lang=lang)
    page.rename(folder / f"report.{lang}.html")
    audio = {entry.sha256: entry.audio for entry in manifest.entries}
    for other in LANGUAGES:
        if other != lang:
            (folder / f"report.{other}.html").write_text(render(results, other, audio), encoding="utf-8")
    return results


def said(results: Results, speaking: list[Voice], called: Mapping[str, Text]) -> dict[str, Any]:
    """What the page says above the report: a sentence, why there is no verdict if there is none, a small table."""
    merged = next(voice.system.name for voice in speaking if voice.role == "merged")
    lacks = what_lacks(results)

    def figures(name: str) -> dict[str, Any]:
        cells = {figure: results.cell("overall", "all", name, figure) for figure in ("wer", "cer")}
        return {
            figure: None if cell is None else {"value": cell.value, "low": cell.low, "high": cell.high}
            for figure, cell in cells.items()
        }

    return {
        "verdict": bilingual(plain_verdict(results, merged)),
        "lacks": None if lacks is None else bilingual(lacks),
        "rows": [
            {
                "role": voice.role,
                "name": voice.system.name,
                "title": bilingual(called[voice.role]) if voice.role in called else None,
                "sentence": voice.system.describe()["sentence"],
                **figures(voice.system.name),
            }
            for voice in speaking
        ],
    }


def told_faults(faults: tuple[Fault, ...]) -> dict[str, Any]:
    """Bad lines as the page lists them; of very many only the first."""
    return {"count": len(faults), "first": [bilingual(one.sentence) for one in faults[:MOST_FAULTS]]}
