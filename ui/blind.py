"""Blind voting. Who is who stays on the server until the vote; enough has to be heard first, by button or by key."""

import itertools
import json
import random
import secrets
import time
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any

from evaluation.store import Vote
from merger.bilingual import Text
from merger.errors import WhisperMergeError
from merger.recipe import MergeRecipe
from ui.comparison import SIDES, Mixture
from ui.errors import ClipNotChosen, NotFound, bad_recipe, bilingual
from ui.mixer import listen_if_live
from ui.models import taking_part
from ui.ranking import MIN_VOTES, ballots, standings
from ui.sessions import Session
from ui.views import action
from ui.worker import Job
from ui.workshop import Workshop

SHARE_HEARD = 0.6  # of the clip, before a vote counts
MOST_HEARD = 8.0  # seconds that are enough of any clip
EVERYBODY = "everybody"  # the owner under which votes are kept without the voter's name
CHOICES = ("same", "bad")
MOST_TRIED = 8  # clips on which a difference is looked for


@dataclass
class Round:
    """One blind comparison: distinct texts in an order that `seed` repeats; `names[i]` are those who wrote text i."""

    id: str
    seed: int
    clip: str
    seconds: float
    names: list[list[str]]
    labels: list[list[dict[str, str]]]
    texts: list[str]
    began: float = field(default_factory=time.monotonic)
    vote: str | None = None

    @property
    def due(self) -> float:
        """Seconds that have to be heard."""
        return min(MOST_HEARD, SHARE_HEARD * self.seconds)


@action("blind.new")
def new_round(workshop: Workshop, session: Session, payload: dict[str, Any]) -> None:
    """A random clip of the person's on which A, the current merge and B do not all write the same."""
    clips = [clip.id for clip in workshop.clips.samples] + list(session.shelf)
    if not clips:
        raise ClipNotChosen()
    last = session.notes.get("blind")
    seed = secrets.randbits(32)
    chance = random.Random(seed)
    # The clip of the last round comes last.
    order = sorted(chance.sample(clips, len(clips)), key=lambda one: last is not None and one == last.clip)[:MOST_TRIED]
    recipe, models = session.mixture()
    sources = workshop.sources(models, recipe)

    def work(job: Job) -> Generator[None, None, None]:
        yield from workshop.loaded(job, sources)
        for clip_id in order:
            clip = workshop.clips.sound(session.owner, clip_id)
            wrote: dict[str, list[str]] = {}  # text → who wrote it: equal texts are one card
            for number, side in enumerate(SIDES):
                job.report("blind", number, len(SIDES))
                pair = workshop.pairs.get(sources)
                heard = workshop.listener.hear(side, pair, Mixture(recipe, pair.fingerprints), clip, job.cancelled)
                mixture = {"recipe": recipe.to_json(), "models": taking_part(recipe, models)}
                who = {"model": models[side]} if side != "merged" else mixture
                name = json.dumps(who, ensure_ascii=False, sort_keys=True)
                wrote.setdefault(heard.transcript.text.strip(), []).append(name)
                yield
            if len(wrote) > 1:
                break
        else:
            with session.lock:
                workshop.tell(session, job, blind={"alike": len(order)})
                session.notes.pop("blind", None)
            return
        texts = chance.sample(list(wrote), len(wrote))
        names = [wrote[text] for text in texts]
        labels = [[label(workshop, name) for name in writers] for writers in names]
        told = Round(secrets.token_hex(8), seed, clip_id, clip.seconds, names, labels, texts)
        with session.lock:
            job.check()
            session.notes["blind"] = told
            session.clip = clip_id
            workshop.publish_clip(session)
            publish(workshop, session)

    with session.lock:  # so that the round that is found is told after that there is none
        job = workshop.worker.submit(session.owner, "blind", work, supersede=True)
        session.publish(blind=None)
        workshop.show(session, job)


def publish(workshop: Workshop, session: Session) -> None:
    """What the page may know: labels only after the vote."""
    told: Round = session.notes["blind"]
    session.publish(
        blind={
            "id": told.id,
            "clip": told.clip,
            "texts": told.texts,
            "due": told.due,
            "vote": told.vote,
            "labels": told.labels if told.vote else None,
        }
    )


@action("blind.vote")
def vote(workshop: Workshop, session: Session, payload: dict[str, Any]) -> None:
    """`choice`: "0", "1", "2" for the best text, "same", or "bad" when none is any good."""
    told: Round | None = session.notes.get("blind")
    choice = str(payload.get("choice"))
    if told is None or told.id != payload.get("id") or told.vote is not None:
        raise NotFound(what=Text("раунд", "round"))
    if choice not in {*CHOICES, *(str(number) for number in range(len(told.texts)))}:
        raise bad_recipe(Text("Такого голоса нет.", "There is no such vote."), Text("Обновите страницу.", "Reload."))
    heard, passed = float(payload.get("heard") or 0), time.monotonic() - told.began
    # A page can claim to have heard; it cannot make time pass (a speed of 2 is the fastest that it plays).
    if heard + 0.05 < told.due or passed < told.due / 2:
        raise bad_recipe(
            Text("Сначала послушайте запись.", "Listen to the recording first."),
            Text(f"Нужно прослушать {told.due:.1f} с.".replace(".", ",", 1), f"{told.due:.1f} s have to be heard."),
        )
    told.vote = choice
    writers = [(name, card) for card, names in enumerate(told.names) for name in names]
    for (left_name, left), (right_name, right) in itertools.combinations(writers, 2):
        decided = _decided(choice, left, right)
        if decided is None:
            continue
        for owner in (session.owner, EVERYBODY):
            kept = Vote(told.clip, left_name, right_name, decided, heard, told.id)  # type: ignore[arg-type]
            workshop.store.add_vote(owner, kept)
    publish(workshop, session)
    listen_if_live(workshop, session)  # the Listen screen may show now who wrote what


def _decided(choice: str, left: int, right: int) -> str | None:
    """What a vote for one card says about two writers, given by their cards; None where it says nothing."""
    if choice in CHOICES:
        return {"same": "tie", "bad": "both_bad"}[choice]
    if left == right:
        return "tie"  # they wrote the same
    return {left: "left", right: "right"}.get(int(choice))


@action("blind.results")
def results(workshop: Workshop, session: Session, payload: dict[str, Any]) -> dict[str, Any]:
    """Standings by this person's votes and by everybody's."""
    return {
        "needed": MIN_VOTES,
        "own": _standings(workshop, session.owner),
        "all": _standings(workshop, EVERYBODY),
    }


def _standings(workshop: Workshop, owner: str) -> dict[str, Any]:
    votes = workshop.store.votes(owner)
    rows = [{**vars(one), "label": label(workshop, one.name)} for one in standings(votes)]
    return {"votes": ballots(votes), "rows": rows}


def label(workshop: Workshop, name: str) -> dict[str, str]:
    """A candidate's stored name (JSON: a model's reference, or a recipe with its models) in words."""
    try:
        told = json.loads(name)
        if "model" in told:
            return bilingual(workshop.models.names({"a": told["model"]})["a"])
        return bilingual(workshop.sentence(MergeRecipe.from_json(told["recipe"]), told["models"]))
    except (ValueError, TypeError, KeyError, WhisperMergeError):
        # Another program or an older version wrote this name; its votes still count.
        return bilingual(Text(name, name))


@action("blind.export")
def export_votes(workshop: Workshop, session: Session, payload: dict[str, Any]) -> str:
    """This person's votes as CSV; cells that a spreadsheet would take for a formula are made harmless."""
    lines = ["ballot,clip,left,right,choice,seconds"]
    for one in workshop.store.votes(session.owner):
        left, right = (label(workshop, name)["en"] for name in (one.left_name, one.right_name))
        cells = (one.ballot or "", one.clip, left, right, one.choice, f"{one.seconds or 0:.2f}")
        lines.append(",".join(csv_cell(cell) for cell in cells))
    return "\r\n".join(lines) + "\r\n"


def csv_cell(text: str) -> str:
    """RFC 4180, with `'` before = + - @ and control signs."""
    safe = "'" + text if text[:1] in {"=", "+", "-", "@", "\t", "\r"} else text
    return '"' + safe.replace('"', '""') + '"' if any(sign in safe for sign in ',"\r\n') else safe
