"""The app's services put together, and what a session needs of them: one object that views and endpoints share."""

import logging
import threading
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import Any

from evaluation.audio import AudioClip, AudioLimits
from evaluation.normalize_ru import VERSION
from evaluation.store import Store, StoredClip, StoredTranscript
from merger.bilingual import Text
from merger.checkpoint import Checkpoint
from merger.errors import WhisperMergeError
from merger.recipe import MergeRecipe
from ui.catalog import PRESETS
from ui.clips import Clips, peaks
from ui.comparison import SIDES, Listener, Memory, Mixture, side_json, with_slots
from ui.errors import bilingual
from ui.models import LoadedPair, Models, Pairs
from ui.sessions import Session, Sessions
from ui.settings import Settings
from ui.worker import FINISHED, Job, Worker

log = logging.getLogger(__name__)

RECENT = 20  # experiments in which a repeated one is looked for

Publish = Callable[[dict[str, Any]], None]


class Workshop:
    """Settings, worker, models, clips, history and sessions of one running app."""

    def __init__(self, settings: Settings, uploads: Path | None = None) -> None:
        self.settings = settings.with_folders()
        self.sessions = Sessions()
        self.models = Models(settings)
        self.pairs = Pairs(settings.device, settings.pairs)
        limits = AudioLimits(max_bytes=settings.max_upload_mb * 1_000_000, max_seconds=settings.max_audio_seconds)
        self.clips = Clips(settings.data / "clips", settings.samples, limits, uploads)
        self.store = Store(settings.data / "history.sqlite")
        self.memory = Memory()
        self.listener = Listener(self.memory)
        self.exports: dict[str, Job] = {}  # folder → the job that writes it; guarded by the lock below
        self.exports_lock = threading.Lock()
        self.worker = Worker(self._job_changed)

    # ---- sessions ----------------------------------------------------------------------------------------------------

    def session(self, owner: str) -> Session:
        """The owner's session; a new one finds the default pair, the guide's starting recipe and the first sample."""
        session, made = self.sessions.of(owner)
        if made:
            with session.lock:
                session.models = dict(self.settings.default_models)
                session.recipe, session.preset = PRESETS[0].recipe, PRESETS[0].name
                samples = self.clips.samples
                session.clip = samples[0].id if samples else None
            self.publish_all(session)
            if self.ready(session):
                self.compare(session)
        return session

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

    def publish_all(self, session: Session) -> None:
        self.publish_models(session)
        self.publish_recipe(session)
        self.publish_clips(session)
        self.publish_clip(session)

    def publish_models(self, session: Session) -> None:
        session.publish(
            models={
                "roles": {role: self.models.describe(ref) for role, ref in session.models.items()},
                "verdict": self.models.verdict(session.models),
                "options": [option.to_json() for option in self.models.options()],
                "hub": self.settings.hub,
            }
        )

    def publish_recipe(self, session: Session) -> None:
        recipe: MergeRecipe = session.recipe
        session.publish(
            recipe={
                **recipe.to_json(),
                "json": recipe.to_json(),
                "digest": recipe.digest,
                "key": self.wanted_key(session),
                "sentence": bilingual(self.sentence(recipe, session.models)),
                "preset": session.preset,
                "live": session.live,
                "can_undo": bool(session.undo),
                "can_redo": bool(session.redo),
            }
        )

    def publish_clips(self, session: Session) -> None:
        shelf = [self.clips.find(session.owner, clip_id).to_json() for clip_id in session.shelf]
        session.publish(clips={"samples": [clip.to_json() for clip in self.clips.samples], "shelf": shelf})

    def publish_clip(self, session: Session) -> None:
        """The chosen clip with its waveform and reference; reads the file, so it may raise BadAudio."""
        if session.clip is None:
            session.publish(clip=None)
            return
        entry = self.clips.find(session.owner, session.clip)
        sound = self.clips.sound(session.owner, session.clip)
        session.publish(
            clip={
                **entry.to_json(),
                "url": self.clips.address(session.owner, entry.id),
                "peaks": peaks(sound),
                "reference": self.reference(session),
            }
        )

    def reference(self, session: Session) -> str | None:
        """What was really said in the chosen clip: as the person typed it, otherwise as the sample's manifest says."""
        if session.clip is None:
            return None
        if session.clip in session.references:
            return session.references[session.clip] or None
        return self.clips.find(session.owner, session.clip).reference

    def sentence(self, recipe: MergeRecipe, models: Mapping[str, str | None]) -> Text:
        names = self.models.names(models)
        words = {
            lang: recipe.sentence(lang, names["a"].get(lang), names["b"].get(lang), names["base"].get(lang))
            for lang in ("ru", "en")
        }
        return Text(words["ru"], words["en"])

    def wanted_key(self, session: Session) -> str:
        """What the session's result has to carry to be fresh: recipe and models."""
        models = "|".join(f"{role}={session.models.get(role)}" for role in ("a", "b", "base"))
        return f"{session.recipe.digest[:20]}|{models}"

    # ---- comparing ---------------------------------------------------------------------------------------------------

    def ready(self, session: Session) -> bool:
        """Whether everything is chosen that a comparison needs."""
        verdict = session.get("models") or {}
        return session.clip is not None and verdict.get("verdict", {}).get("state") == "ok"

    def sources(self, models: Mapping[str, str | None], recipe: MergeRecipe) -> dict[str, Checkpoint]:
        return self.models.checked(models, needs_base=recipe.spec.needs_base)

    def compare(self, session: Session) -> Job:
        """Queues a comparison of the session's clip and recipe; an older unfinished one of this person is stopped."""
        recipe, models, clip_id = session.recipe, dict(session.models), session.clip
        reference, wanted = self.reference(session), self.wanted_key(session)
        assert clip_id is not None
        sources = self.sources(models, recipe)
        entry = self.clips.find(session.owner, clip_id)
        head = {"clip": clip_id, "digest": wanted, "recipe": recipe.to_json(), "reference": reference}

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
                session.publish(result=partial)

            result = yield from self.listening(job, sources, models, recipe, clip, reference, publish)
            finished = {**head, "models": models, **result}
            self._remember(session.owner, recipe, sources, entry.name.ru, clip, reference, finished)
            session.publish(history_version=job.id)
            return finished

        job = self.worker.submit(session.owner, "compare", work, supersede=True)
        session.job = job.id
        self._job_changed(job)
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
    ) -> Generator[None, None, dict[str, Any]]:
        """The three sides, one step each, published as they come; returns them with slots and scores."""
        pair = yield from self.loaded(job, sources)
        mixture = Mixture(recipe, pair.fingerprints)
        names = {**self.models.names(models), "merged": Text("слияние", "the merge")}
        sides: dict[str, Any] = {}
        for number, side in enumerate(self.listener.order(mixture, clip)):
            job.report("listen", number, len(SIDES), name=bilingual(names[side]))
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

    def loaded(self, job: Job, sources: Mapping[str, Checkpoint]) -> Generator[None, None, LoadedPair]:
        if not self.pairs.holds(sources):
            job.report("load")
            pair = self.pairs.get(sources, job.cancelled)
            yield
            return pair
        return self.pairs.get(sources)

    # ---- what happened -----------------------------------------------------------------------------------------------

    def _remember(
        self,
        owner: str,
        recipe: MergeRecipe,
        sources: Mapping[str, Checkpoint],
        clip_name: str,
        clip: AudioClip,
        reference: str | None,
        result: dict[str, Any],
    ) -> None:
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
            sources={
                role: {"name": model.name, "location": locations[role]} for role, model in sources.items()
            },
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
        if job.id == session.job:
            session.publish(job=self.worker.to_json(job))
        if job.state in FINISHED:
            follow = session.notes.get("follow", {}).pop(job.id, None)
        else:
            follow = session.notes.get("follow", {}).get(job.id)
        if follow is not None:
            follow(job)

    def follow(self, session: Session, job: Job, publish: Callable[[Job], None]) -> None:
        """Calls `publish(job)` at every change of a job that a view watches."""
        follows = session.notes.setdefault("follow", {})
        follows[job.id] = publish
        publish(job)
        if job.state in FINISHED:  # over before it was watched: nobody else will take it from the list
            follows.pop(job.id, None)

    def close(self) -> None:
        self.worker.close()
        self.pairs.close()
        self.store.close()


def _finish_columns(sides: dict[str, Any]) -> dict[str, Any]:
    """Slots of three columns; agreement goes to each column for the page to show where there is no reference."""
    found = with_slots({side: sides[side] for side in SIDES})
    shares = found.pop("agreement")
    for side in ("a", "b"):
        sides[side] = {**sides[side], "agreement": shares[side]}
    same = [slot["same"] for slot in found["slots"]]
    sides["merged"] = {**sides["merged"], "agreement": sum(same) / len(same) if same else None}
    return {**{side: sides[side] for side in SIDES}, **found}

