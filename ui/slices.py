"""What a person's page shows of the server: models, recipe, recordings, each published as a slice of its session."""

from collections.abc import Mapping
from typing import Any

from merger.bilingual import Text
from merger.recipe import MergeRecipe
from ui.clips import Clips, peaks
from ui.errors import bilingual
from ui.jobs import Job
from ui.models import SOURCES, Models, taking_part
from ui.sessions import Session
from ui.settings import Settings

PENDING = {"state": "pending", "mismatches": [], "warnings": []}


class Slices:
    """The part of the `Workshop` that puts things into words and publishes them."""

    settings: Settings
    models: Models
    clips: Clips
    exports: dict[str, Job]

    def publish_all(self, session: Session) -> None:
        self.publish_models(session)
        self.publish_recipe(session)
        self.publish_clips(session)
        self.publish_clip(session)

    # What is published is read under the session's lock: of two changes at once, the later one is told last.

    def publish_models(self, session: Session) -> None:
        options = [option.to_json() for option in self.models.options(self.exported(session.owner))]
        with session.lock:
            session.publish(
                models={
                    "roles": {role: self.models.describe(ref) for role, ref in session.models.items()},
                    "verdict": PENDING if session.fetching else self.models.verdict(session.models),
                    "options": options,
                    "hub": self.settings.hub,
                }
            )

    def exported(self, owner: str) -> list[str]:
        """The export folders that a person may mix further: a team's are everybody's, a stranger's their own."""
        folders = [path.name for path in self.settings.export_root.iterdir() if (path / "config.json").is_file()]
        mine = {folder for folder, job in list(self.exports.items()) if job.owner == owner}
        return [folder for folder in folders if not self.settings.public or folder in mine]

    def publish_recipe(self, session: Session) -> None:
        with session.lock:
            recipe: MergeRecipe = session.recipe
            session.publish(
                recipe={
                    **recipe.to_json(),
                    "json": {**recipe.to_json(), "sources": taking_part(recipe, session.models)},
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
        with session.lock:
            shelf = [self.clips.find(session.owner, clip_id).to_json() for clip_id in session.shelf]
            session.publish(clips={"samples": [clip.to_json() for clip in self.clips.samples], "shelf": shelf})

    def publish_clip(self, session: Session) -> None:
        """The chosen clip with its waveform and reference; reads the file, so it may raise BadAudio."""
        with session.lock:
            if (chosen := session.clip) is None:
                session.publish(clip=None)
                return
        entry = self.clips.find(session.owner, chosen)
        told = {
            **entry.to_json(),
            "url": self.clips.address(session.owner, chosen),
            "peaks": peaks(self.clips.sound(session.owner, chosen)),
            "ready": entry.reference,  # which stays there to come back to, whatever is typed in its place
        }
        with session.lock:
            if session.clip == chosen:  # otherwise another clip was chosen while this one was read, and is told instead
                session.publish(clip={**told, "reference": self.reference(session)})

    def reference(self, session: Session, clip_id: str | None = None) -> str | None:
        """What was really said in a clip (the chosen one): as the person typed it, otherwise as the sample's manifest
        says."""
        clip = clip_id or session.clip
        if clip is None:
            return None
        if clip in session.references:
            return session.references[clip] or None
        return self.clips.find(session.owner, clip).reference

    def note_heard(self, session: Session, clip_id: str, key: str, sides: Mapping[str, Any]) -> None:
        """By which recipe a clip was last heard, for the marks on the shelf."""
        with session.lock:
            heard = {**(session.get("heard") or {}), clip_id: {"key": key, "wer": sides["merged"]["wer"]}}
            session.publish(heard=heard)

    def sentence(self, recipe: MergeRecipe, models: Mapping[str, str | None]) -> Text:
        names = self.models.names(models)
        words = {
            lang: recipe.sentence(
                lang, names["a"].get(lang), names["b"].get(lang), names["base"].get(lang),
                [names[role].get(lang) for role in SOURCES[2:] if models.get(role)],
            )
            for lang in ("ru", "en")
        }  # fmt: skip
        return Text(words["ru"], words["en"])

    def wanted_key(self, session: Session) -> str:
        """What the session's result has to carry to be fresh: recipe and models."""
        mixed = taking_part(session.recipe, session.models)
        models = "|".join(f"{role}={ref}" for role, ref in mixed.items())
        return f"{session.recipe.digest[:20]}|{models}"
