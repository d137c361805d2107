"""The app's services put together, and what a session needs of them: one object that views and endpoints share."""

import logging
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path
from typing import Any

from evaluation.audio import AudioClip
from evaluation.normalize_ru import VERSION
from evaluation.store import Store, StoredClip, StoredTranscript
from merger.bilingual import Text
from merger.checkpoint import Checkpoint
from merger.errors import WhisperMergeError
from merger.recipe import MergeRecipe
from ui.catalog import PRESETS
from ui.clips import Clips
from ui.comparison import SIDES, Listener, Memory, Mixture, scored, side_json, with_slots
from ui.devices import executors_for
from ui.errors import bilingual
from ui.executor import Executor, OnDevice, Pairs
from ui.health import Checkup
from ui.journal import OneServer, StoreJournal
from ui.metrics import Metrics
from ui.models import Models, taking_part
from ui.sessions import Session, Sessions
from ui.settings import Settings
from ui.slices import Slices
from ui.worker import FINISHED, Job, Worker

log = logging.getLogger(__name__)

RECENT = 20  # experiments in which a repeated one is looked for

Publish = Callable[[dict[str, Any]], None]


class Workshop(Slices):
    """Settings, worker, models, clips, history and sessions of one running app.

    `executors`: one per device; None: those that the settings name, each in a process of its own.
    """

    def __init__(
        self, settings: Settings, uploads: Path | None = None, executors: Sequence[Executor] | None = None
    ) -> None:
        self.settings = settings.with_folders()
        self.sessions = Sessions()
        self.models = Models(settings)
        self.pairs = Pairs()
        self.clips = Clips(settings, uploads)
        self.clips.on_gone = self._clips_gone
        self.only_server = OneServer(settings.data)
        self.store = Store(settings.data / "history.sqlite")
        self.memory = Memory()
        self.listener = Listener(self.memory)
        self.exports: dict[str, Job] = {}  # folder → the job that writes it; guarded by the lock below
        self.exports_lock = threading.Lock()
        self.checkup = Checkup(self)
        self.metrics = Metrics(self, self.checkup)
        self.worker = Worker(
            self._job_changed,
            on_finish=self.metrics.finished,
            waiting_per_owner=1 + settings.jobs_waiting_per_person,
            unfinished_in_all=settings.jobs_in_all,
            executors=executors_for(settings) if executors is None else executors,
            journal=StoreJournal(self.store),
        )

    # ---- sessions ----------------------------------------------------------------------------------------------------

    def session(self, owner: str) -> Session:
        """The owner's session; a new one finds the default pair, the guide's starting recipe and the first sample."""
        return self.sessions.of(owner, self._begin)

    def _begin(self, session: Session) -> None:
        with session.lock:
            session.models = dict(self.settings.default_models)
            session.recipe, session.preset = PRESETS[0].recipe, PRESETS[0].name
            samples = self.clips.samples
            session.clip = samples[0].id if samples else None
            session.shelf = self.clips.shelf(session.owner)
            # Where every call is charged to the visitor, a slider waits for the button.
            session.live = not any(executor.whole for executor in self.worker.executors)
        self.publish_all(session)
        if self.ready(session):
            self.compare(session)

    def warm_up(self) -> None:
        """Loads the default pair before the first visitor asks for it; a pair that cannot be loaded is told to them."""
        models, recipe = self.settings.default_models, PRESETS[0].recipe
        try:
            sources = self.sources(models, recipe)
        except WhisperMergeError as error:
            log.warning("the default pair cannot be used: %s", error)
            return

        def work(job: Job) -> Generator[None, None, None]:
            yield from self.loaded(job, sources)

        self.worker.submit("warm-up", "load", work)

    # ---- comparing ---------------------------------------------------------------------------------------------------

    def ready(self, session: Session) -> bool:
        """Whether everything is chosen that a comparison needs."""
        verdict = session.get("models") or {}
        return session.clip is not None and verdict.get("verdict", {}).get("state") == "ok"

    def sources(self, models: Mapping[str, str | None], recipe: MergeRecipe) -> dict[str, Checkpoint]:
        return self.models.checked(models, needs_base=recipe.spec.needs_base)

    def compare(self, session: Session) -> Job:
        """Queues a comparison of the session's clip and recipe; an older unfinished one of this person is stopped."""
        with session.lock:  # of two at once, the one that is left is the one of what is chosen now
            return self._compare(session)

    def _compare(self, session: Session) -> Job:
        (recipe, models), clip_id = session.mixture(), session.clip
        reference, wanted = self.reference(session), self.wanted_key(session)
        assert clip_id is not None
        sources = self.sources(models, recipe)
        entry = self.clips.find(session.owner, clip_id)
        head = {"clip": clip_id, "digest": wanted, "recipe": recipe.to_json(), "reference": reference}

        def as_spoken(result: dict[str, Any]) -> dict[str, Any]:
            """With the scores of what was really said, which may have been typed since."""
            return scored(result, session.references.get(clip_id, entry.reference) or None)

        def work(job: Job) -> Generator[None, None, Any]:
            clip = self.clips.sound(session.owner, clip_id)
            old = session.get("result") or {}
            # The merge that was there stays, dimmed by the page, until the new one is written: nothing blinks.
            kept = old.get("merged") if old.get("clip") == clip_id and old.get("models") == models else None

            def publish(sides: dict[str, Any]) -> None:
                partial = {**head, "models": models, **sides}
                if "merged" not in sides and kept is not None:
                    partial |= {"merged": kept, "digest": old["digest"]}
                if all(side in partial for side in SIDES):
                    partial |= _finish_columns(partial)
                with session.lock:
                    self.tell(session, job, result=as_spoken(partial))

            result = yield from self.listening(job, sources, models, recipe, clip, reference, publish)
            finished = as_spoken({**head, "models": models, **result})
            self._remember(session.owner, recipe, sources, entry.name.ru, clip, finished)
            session.publish(history_version=job.id)
            self.note_heard(session, clip_id, wanted, finished)
            return finished

        job = self.worker.submit(session.owner, "compare", work, supersede=True)
        self.show(session, job)
        return job

    def listening(
        self,
        job: Job,
        sources: Mapping[str, Checkpoint],
        models: Mapping[str, str | None],
        recipe: MergeRecipe,
        clip: AudioClip,
        reference: str | None,
        publish: Publish = lambda sides: None,
        report: Callable[[], None] | None = None,
    ) -> Generator[None, None, dict[str, Any]]:
        """The three sides, one step each, published as they come; returns them with slots and scores."""
        pair = yield from self.loaded(job, sources)
        mixture = Mixture(recipe, pair.fingerprints)
        names = {**self.models.names(models), "merged": Text("слияние", "the merge")}
        sides: dict[str, Any] = {}
        for number, side in enumerate(self.listener.order(mixture, clip)):
            if report is None:
                job.report("listen", number, len(SIDES), name=bilingual(names[side]))
            else:
                report()
            # Between two steps somebody else may have used the device: the pair is asked for again.
            pair = self.pairs.get(sources)
            heard = self.listener.hear(side, pair, mixture, clip, job.cancelled)
            sides[side] = side_json(heard, reference)
            if len(sides) < len(SIDES):
                publish(sides)
                if not heard.cached:
                    yield
        result = {**sides, **_finish_columns(sides)}
        publish(result)
        return result

    def loaded(self, job: Job, sources: Mapping[str, Checkpoint]) -> Generator[None, None, OnDevice]:
        if not self.pairs.holds(sources):
            job.report("load")
            pair = self.pairs.get(sources, job.cancelled)
            yield
            return pair
        return self.pairs.get(sources)

    def _clips_gone(self, owner: str, clips: list[str]) -> None:
        """Recordings that nobody used for long were removed: they leave their owner's page as well."""
        session = self.sessions.find(owner)
        if session is None:
            return
        with session.lock:
            session.shelf = [clip for clip in session.shelf if clip not in clips]
            if session.clip in clips:
                samples = self.clips.samples
                session.clip = samples[0].id if samples else None
        self.publish_clips(session)
        self.publish_clip(session)

    # ---- what happened -----------------------------------------------------------------------------------------------

    def _remember(
        self,
        owner: str,
        recipe: MergeRecipe,
        sources: Mapping[str, Checkpoint],
        clip_name: str,
        clip: AudioClip,
        result: dict[str, Any],
    ) -> None:
        reference = result["reference"]
        sources = taking_part(recipe, sources)
        locations = {role: self.models.reference_of(model) for role, model in sources.items()}
        if any(
            (kept.digest, kept.clip and kept.clip.sha256, kept.reference) == (recipe.digest, clip.sha256, reference)
            and {role: source["location"] for role, source in kept.sources.items()} == locations
            for kept in self.store.experiments(owner, limit=RECENT)
        ):
            return  # somebody moving a slider to and fro makes no new experiments
        self.store.add_experiment(
            owner,
            recipe=recipe.to_json(),
            digest=recipe.digest,
            sources={role: {"name": model.name, "location": locations[role]} for role, model in sources.items()},
            clip=StoredClip(clip.sha256, clip_name, clip.seconds),
            reference=reference,
            normalizer=VERSION if reference else None,
            transcripts={
                side: StoredTranscript(
                    result[side]["text"], result[side]["seconds"], None, result[side]["wer"], result[side]["cer"]
                )
                for side in SIDES
            },
        )

    def _job_changed(self, job: Job) -> None:
        """Shows the job in its owner's strip if that is the one the strip follows; others have slices of their own."""
        session = self.sessions.find(job.owner)
        if session is None:
            return
        with session.lock:  # threads tell of one job at the same time: what was read last is told last
            if job.id == session.job:
                session.publish(job=self.worker.to_json(job))
            followed, publish = session.notes.get("follow", {}).get(job.kind, (None, None))
            if followed == job.id:
                over = job.state in FINISHED  # before it is told: what ends meanwhile has yet to be told as over
                publish(job)
                if over:
                    del session.notes["follow"][job.kind]

    def show(self, session: Session, job: Job) -> None:
        """Makes the status strip follow this job."""
        with session.lock:
            session.job = job.id
            self._job_changed(job)

    def follow(self, session: Session, job: Job, publish: Callable[[Job], None]) -> None:
        """Calls `publish(job)`, with the session's lock held, at every change of a job that a view watches, until that
        is over or another of its kind is followed."""
        with session.lock:
            session.notes.setdefault("follow", {})[job.kind] = (job.id, publish)
            self._job_changed(job)

    def tell(self, session: Session, job: Job, **slices: Any) -> None:
        """Publishes what a job has found so far. Raises Cancelled for one that is no longer wanted: what was asked for
        instead may be on the page already."""
        with session.lock:
            job.check()
            session.publish(**slices)

    def close(self) -> None:
        self.clips.close()
        self.worker.close()
        for executor in self.worker.executors:
            executor.close()
        self.store.close()
        self.only_server.release()


def _finish_columns(sides: dict[str, Any]) -> dict[str, Any]:
    """Slots of three columns; agreement goes to each column for the page to show where there is no reference."""
    found = with_slots({side: sides[side] for side in SIDES})
    shares = found.pop("agreement")
    for side in ("a", "b"):
        sides[side] = {**sides[side], "agreement": shares[side]}
    same = [slot["same"] for slot in found["slots"]]
    sides["merged"] = {**sides["merged"], "agreement": sum(same) / len(same) if same else None}
    return {**{side: sides[side] for side in SIDES}, **found}
