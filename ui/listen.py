"""The listening screen's actions: clips, the reference, and who hears, who writes."""

import re
from collections.abc import Generator
from typing import Any

from evaluation.scores import score_pair
from merger.bilingual import Text
from merger.recipe import MergeRecipe
from ui.comparison import Heard, Mixture, scored, side_json
from ui.errors import ClipNotChosen, bilingual
from ui.mixer import listen_if_live
from ui.sessions import Session
from ui.views import action
from ui.worker import Job
from ui.workshop import Workshop

LONGEST_REFERENCE = 20_000  # characters
CLOCK = re.compile(r"^\d\d:\d\d:\d\d$")


@action("clips.add")
def add(workshop: Workshop, session: Session, payload: dict[str, Any]) -> None:
    title = recorded(str(payload["recorded"])) if payload.get("recorded") else None
    entry = workshop.clips.add(session.owner, str(payload["path"]), str(payload["name"]), title)
    with session.lock:
        session.shelf = [entry.id, *(clip for clip in session.shelf if clip != entry.id)]
        most = workshop.settings.max_clips
        gone, session.shelf = session.shelf[most:], session.shelf[:most]
    for clip in gone:
        workshop.clips.forget(session.owner, clip)
    workshop.publish_clips(session)
    _choose(workshop, session, entry.id)


def recorded(clock: str) -> Text | None:
    """What a recording through the microphone is called, in both languages; `clock` is the visitor's time of day."""
    return Text(f"Микрофон, {clock}", f"Microphone, {clock}") if CLOCK.match(clock) else None


@action("clips.choose")
def choose(workshop: Workshop, session: Session, payload: dict[str, Any]) -> None:
    _choose(workshop, session, str(payload["id"]))


def _choose(workshop: Workshop, session: Session, clip_id: str) -> None:
    workshop.clips.find(session.owner, clip_id)
    session.clip = clip_id
    workshop.publish_clip(session)
    listen_if_live(workshop, session)


@action("clips.forget")
def forget(workshop: Workshop, session: Session, payload: dict[str, Any]) -> None:
    clip_id = str(payload["id"])
    with session.lock:
        session.shelf = [clip for clip in session.shelf if clip != clip_id]
        if session.clip == clip_id:
            samples = workshop.clips.samples
            session.clip = samples[0].id if samples else None
    workshop.clips.forget(session.owner, clip_id)
    workshop.publish_clips(session)
    workshop.publish_clip(session)
    listen_if_live(workshop, session)


@action("listen.reference")
def set_reference(workshop: Workshop, session: Session, payload: dict[str, Any]) -> None:
    """What was really said in `clip` (the chosen one); the scores of the shown result follow without listening again.

    The page names the recording that the text was written for: another may be chosen by the time it arrives.
    """
    text = " ".join(str(payload["text"])[:LONGEST_REFERENCE].split())
    with session.lock:
        clip_id = str(payload["clip"]) if payload.get("clip") else session.clip
        if clip_id is None:
            raise ClipNotChosen()
        if text == (workshop.reference(session, clip_id) or ""):
            return
        session.references[clip_id] = text
        workshop.clips.refer(session.owner, clip_id, text or None)
        clip, result = session.get("clip"), session.get("result")
        if clip and clip["id"] == clip_id:
            session.publish(clip={**clip, "reference": text or None})
        if result and result["clip"] == clip_id:
            session.publish(result=scored(result, text or None))


@action("listen.all")
def hear_all(workshop: Workshop, session: Session, payload: dict[str, Any]) -> None:
    """Every recording of the person's and every sample by the recipe in force; ends by itself when that changes."""
    with session.lock:
        (recipe, models), wanted = session.mixture(), workshop.wanted_key(session)
    sources = workshop.sources(models, recipe)
    clip_ids = [*session.shelf, *(clip.id for clip in workshop.clips.samples)]
    if not clip_ids:
        raise ClipNotChosen()

    def work(job: Job) -> Generator[None, None, int]:
        for number, clip_id in enumerate(clip_ids):
            if workshop.wanted_key(session) != wanted:
                return number
            name = bilingual(workshop.clips.find(session.owner, clip_id).name)

            def report(number: int = number, name: dict[str, str] = name) -> None:
                job.report("shelf", number, len(clip_ids), name=name)

            report()
            sound, reference = workshop.clips.sound(session.owner, clip_id), workshop.reference(session, clip_id)
            sides = yield from workshop.listening(job, sources, models, recipe, sound, reference, report=report)
            workshop.note_heard(session, clip_id, wanted, sides)
            yield
        return len(clip_ids)

    workshop.show(session, workshop.worker.submit(session.owner, "shelf", work, lane="batch", supersede=True))


@action("listen.swap")
def hears_and_writes(workshop: Workshop, session: Session, payload: dict[str, Any]) -> None:
    """The 2 × 2 table: the encoder of one model with the decoder of the other. Tells hearing from writing."""
    clip_id = session.clip
    if clip_id is None:
        raise ClipNotChosen()
    recipe, models = session.mixture()
    sources = workshop.sources(models, recipe)
    reference = workshop.reference(session, clip_id)

    def work(job: Job) -> Generator[None, None, None]:
        clip = workshop.clips.sound(session.owner, clip_id)
        yield from workshop.loaded(job, sources)
        cells: dict[str, dict[str, Any]] = {}
        for number, (hears, writes) in enumerate(("aa", "ab", "ba", "bb")):
            job.report("swap", number, 4)
            pair = workshop.pairs.get(sources)
            mixture = Mixture(crossed(hears, writes), pair.fingerprints)
            side = hears if hears == writes else "merged"
            heard: Heard = workshop.listener.hear(side, pair, mixture, clip, job.cancelled)
            cells[hears + writes] = side_json(heard, reference)
            workshop.tell(session, job, swap={"clip": clip_id, "cells": dict(cells), "verdict": None})
            yield
        verdict = bilingual(hearing_verdict(cells))
        workshop.tell(session, job, swap={"clip": clip_id, "cells": cells, "verdict": verdict})

    workshop.show(session, workshop.worker.submit(session.owner, "swap", work, supersede=True))


def crossed(hears: str, writes: str) -> MergeRecipe:
    """A recipe that takes the encoder of one model and the decoder of the other, bit for bit."""
    share = {"a": 1.0, "b": 0.0}
    return MergeRecipe.build(
        "direct", {"direct_alpha": share[writes]}, parts={"encoder": {"direct_alpha": share[hears]}}
    )


def hearing_verdict(cells: dict[str, dict[str, Any]]) -> Text:
    """Whether the text changes more with the ear or with the pen: WER between cells that differ in one of the two."""

    def distance(one: str, other: str) -> float:
        score = score_pair(cells[one]["text"], cells[other]["text"])
        return score.wer if score.wer is not None else float(bool(cells[other]["text"]))

    ear = (distance("aa", "ba") + distance("ab", "bb")) / 2
    pen = (distance("aa", "ab") + distance("ba", "bb")) / 2
    if max(ear, pen) == 0:
        return Text(
            "Обе модели слышат и пишут здесь одинаково.", "Here both models hear and write the same."
        )
    if ear > 1.5 * pen:
        return Text(
            "Разница в слухе: текст меняется вместе с кодировщиком. Настраивайте веса «Слышит».",
            "The difference is in hearing: the text changes with the encoder. Tune the “Hears” weights.",
        )
    if pen > 1.5 * ear:
        return Text(
            "Разница в письме: текст меняется вместе с декодером. Настраивайте веса «Пишет».",
            "The difference is in writing: the text changes with the decoder. Tune the “Writes” weights.",
        )
    return Text(
        "Модели расходятся и в слухе, и в письме: пробуйте обе пары весов.",
        "The models differ both in hearing and in writing: try both pairs of weights.",
    )
