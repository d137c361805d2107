"""The history's actions: every comparison is kept, and can be found, restored, noted, exported and imported."""

import json
from typing import Any

from evaluation.store import Experiment, StoredClip, StoredTranscript
from merger.bilingual import Text
from merger.recipe import MergeRecipe, parse_json
from ui.comparison import SIDES
from ui.errors import NotFound, bad_recipe, bilingual
from ui.mixer import take
from ui.models import ROLES, SOURCES
from ui.sessions import Session
from ui.views import action
from ui.workshop import Workshop

PAGE = 40
LONGEST_NOTE = 2_000
FORMAT = "whisper-merge-history-1"
MOST_IMPORTED = 5_000


@action("history.list")
def listing(workshop: Workshop, session: Session, payload: dict[str, Any]) -> dict[str, Any]:
    offset = max(0, int(payload.get("offset") or 0))
    found = workshop.store.experiments(
        session.owner,
        starred=True if payload.get("starred") else None,
        search=str(payload.get("search") or "").strip(),
        limit=PAGE + 1,
        offset=offset,
    )
    return {"rows": [row(workshop, session, one) for one in found[:PAGE]], "more": len(found) > PAGE}


def row(workshop: Workshop, session: Session, one: Experiment) -> dict[str, Any]:
    models = {role: source.get("location") for role, source in one.sources.items()}
    try:
        sentence = bilingual(workshop.sentence(MergeRecipe.from_json(one.recipe), models))
    except Exception:  # a recipe of a method that is no longer there is still shown, as it was written
        sentence = {lang: json.dumps(one.recipe, ensure_ascii=False) for lang in ("ru", "en")}
    return {
        "id": one.id,
        "created": one.created,
        "recipe": one.recipe,
        "digest": one.digest,
        "sentence": sentence,
        "models": {
            role: bilingual(name) for role, name in workshop.models.names(models).items() if role in one.sources
        },
        "clip": _clip_name(workshop, session, one),
        "clip_id": one.clip.sha256 if one.clip else None,
        "reference": one.reference,
        "note": one.note,
        "starred": one.starred,
        "sides": {
            side: {"text": told.text, "wer": told.wer, "cer": told.cer, "seconds": told.seconds_wall}
            for side, told in one.transcripts.items()
        },
    }


def _clip_name(workshop: Workshop, session: Session, one: Experiment) -> dict[str, str] | None:
    """In both languages while the clip is there, otherwise as it was called when it was heard."""
    if one.clip is None:
        return None
    try:
        return bilingual(workshop.clips.find(session.owner, one.clip.sha256).name)
    except NotFound:
        return {"ru": one.clip.name, "en": one.clip.name}


def _own(workshop: Workshop, session: Session, key: str) -> Experiment:
    found = workshop.store.experiment(session.owner, key)
    if found is None:
        raise NotFound(what=Text("опыт", "experiment"))
    return found


@action("history.note")
def note(workshop: Workshop, session: Session, payload: dict[str, Any]) -> None:
    starred = payload.get("starred")
    text = payload.get("note")
    changed = workshop.store.annotate(
        session.owner,
        str(payload["id"]),
        note=None if text is None else str(text)[:LONGEST_NOTE],
        starred=None if starred is None else bool(starred),
    )
    if not changed:
        raise NotFound(what=Text("опыт", "experiment"))


@action("history.delete")
def delete(workshop: Workshop, session: Session, payload: dict[str, Any]) -> None:
    if not workshop.store.delete_experiment(session.owner, str(payload["id"])):
        raise NotFound(what=Text("опыт", "experiment"))


@action("history.restore")
def restore(workshop: Workshop, session: Session, payload: dict[str, Any]) -> None:
    """Puts models, recipe and, if it is still there, the clip of an experiment back on the page."""
    found = _own(workshop, session, str(payload["id"]))
    recipe = MergeRecipe.from_json(found.recipe)
    sources = {role: found.sources.get(role, {}).get("location") for role in ROLES}
    models: dict[str, str | None] | None = None
    if sources["a"] and sources["b"]:
        # A third model that the experiment did not have would change its mixture; a method of two leaves it alone.
        mixed = SOURCES if recipe.spec.sources == "many" else ()
        models = {role: ref for role, ref in sources.items() if ref or role in mixed}
    if found.clip is not None and _has_clip(workshop, session, found.clip.sha256):
        session.clip = found.clip.sha256
        workshop.publish_clip(session)
    take(workshop, session, models=models, recipe=recipe)


def _has_clip(workshop: Workshop, session: Session, clip_id: str) -> bool:
    try:
        workshop.clips.find(session.owner, clip_id)
    except NotFound:
        return False
    return True


@action("history.export")
def export_all(workshop: Workshop, session: Session, payload: dict[str, Any]) -> str:
    """All of the owner's experiments as one JSON text; `history.import` reads it back."""
    kept = workshop.store.experiments(session.owner, limit=MOST_IMPORTED)
    rows = [
        {
            "recipe": one.recipe, "sources": one.sources, "reference": one.reference, "normalizer": one.normalizer,
            "note": one.note, "starred": one.starred, "created": one.created,
            "clip": vars(one.clip) if one.clip else None,
            "transcripts": {
                side: {"text": told.text, "seconds_wall": told.seconds_wall, "wer": told.wer, "cer": told.cer}
                for side, told in one.transcripts.items()
            },
        }
        for one in reversed(kept)
    ]  # fmt: skip
    return json.dumps({"format": FORMAT, "experiments": rows}, ensure_ascii=False, indent=1)


@action("history.import")
def import_all(workshop: Workshop, session: Session, payload: dict[str, Any]) -> int:
    """Adds the experiments of an exported file; the whole file is read before the first is added."""
    parsed = parse_json(str(payload["text"]))
    rows = parsed.get("experiments") if isinstance(parsed, dict) and parsed.get("format") == FORMAT else None
    if not isinstance(rows, list) or len(rows) > MOST_IMPORTED:
        raise bad_recipe(
            Text("Это не файл истории whisper-merge.", "This is no history file of whisper-merge."),
            Text("Возьмите файл от кнопки «Сохранить историю».", "Take a file from “Save the history”."),
        )
    prepared = [_read_row(one) for one in rows]
    for given, starred in prepared:
        key = workshop.store.add_experiment(session.owner, **given)
        if starred:
            workshop.store.annotate(session.owner, key, starred=True)
    return len(prepared)


def _read_row(one: Any) -> tuple[dict[str, Any], bool]:
    try:
        recipe = MergeRecipe.from_json(one["recipe"])
        clip = one.get("clip")
        given = {
            "recipe": recipe.to_json(),
            "digest": recipe.digest,
            "sources": {
                str(role): {"name": str(source["name"]), "location": str(source.get("location") or "")}
                for role, source in one["sources"].items()
            },
            "clip": StoredClip(str(clip["sha256"]), str(clip["name"]), float(clip["seconds"])) if clip else None,
            "reference": None if one.get("reference") is None else str(one["reference"]),
            "normalizer": None if one.get("normalizer") is None else str(one["normalizer"]),
            "note": str(one.get("note") or "")[:LONGEST_NOTE],
            "transcripts": {
                side: StoredTranscript(
                    str(told["text"]), _number(told.get("seconds_wall")), None, _number(told.get("wer")),
                    _number(told.get("cer")),
                )
                for side, told in one["transcripts"].items()
                if side in SIDES
            },
        }  # fmt: skip
    except (KeyError, TypeError, AttributeError, ValueError):
        raise bad_recipe(
            Text("Один из опытов в файле записан неверно.", "One of the file's experiments is malformed."),
            Text("Сохраните историю заново.", "Save the history again."),
        ) from None
    return given, bool(one.get("starred"))


def _number(value: Any) -> float | None:
    return None if value is None else float(value)
