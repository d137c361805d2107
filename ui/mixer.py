"""The mixer's actions: models, recipe, presets, undo. The page draws itself from what is published."""

from collections.abc import Generator
from typing import Any

from merger.recipe import MergeRecipe, parse_json
from ui.catalog import PRESETS, preset
from ui.models import ROLES
from ui.sessions import Session
from ui.views import action
from ui.worker import Job
from ui.workshop import Workshop

UNDO_DEPTH = 100


def take_recipe(workshop: Workshop, session: Session, recipe: MergeRecipe, preset_name: str | None = None) -> None:
    """Makes the recipe the session's own, with the one before it kept for undo, and listens if that is wanted."""
    with session.lock:
        if recipe.digest != session.recipe.digest:
            session.undo = [*session.undo, session.recipe][-UNDO_DEPTH:]
            session.redo = []
        session.recipe, session.preset = recipe, preset_name or _same_preset(recipe)
    workshop.publish_recipe(session)
    listen_if_live(workshop, session)


def listen_if_live(workshop: Workshop, session: Session) -> None:
    if session.live and workshop.ready(session):
        workshop.compare(session)


def _same_preset(recipe: MergeRecipe) -> str | None:
    """The preset that a recipe happens to be."""
    return next((one.name for one in PRESETS if one.recipe.digest == recipe.digest), None)


@action("mixer.set")
def set_recipe(workshop: Workshop, session: Session, payload: dict[str, Any]) -> bool:
    recipe = MergeRecipe.from_json(payload["recipe"])
    if recipe.digest != session.recipe.digest:
        take_recipe(workshop, session, recipe)
    return True


@action("mixer.paste")
def paste(workshop: Workshop, session: Session, payload: dict[str, Any]) -> bool:
    """A recipe as somebody copied it; an exported recipe.json, which wraps it, is taken as well."""
    parsed = parse_json(str(payload["text"]))
    inner = parsed.get("recipe") if isinstance(parsed, dict) and isinstance(parsed.get("recipe"), dict) else parsed
    take_recipe(workshop, session, MergeRecipe.from_json(inner))
    return True


@action("mixer.preset")
def take_preset(workshop: Workshop, session: Session, payload: dict[str, Any]) -> None:
    chosen = preset(str(payload["name"]))
    take_recipe(workshop, session, chosen.recipe, chosen.name)


@action("mixer.reset")
def reset(workshop: Workshop, session: Session, payload: dict[str, Any]) -> None:
    """The chosen method with the guide's defaults."""
    take_recipe(workshop, session, MergeRecipe.build(session.recipe.method))


@action("mixer.undo")
def undo(workshop: Workshop, session: Session, payload: dict[str, Any]) -> bool:
    return _step(workshop, session, session.undo, session.redo)


@action("mixer.redo")
def redo(workshop: Workshop, session: Session, payload: dict[str, Any]) -> bool:
    return _step(workshop, session, session.redo, session.undo)


def _step(workshop: Workshop, session: Session, source: list[MergeRecipe], target: list[MergeRecipe]) -> bool:
    with session.lock:
        if not source:
            return False
        target.append(session.recipe)
        session.recipe = source.pop()
        session.preset = _same_preset(session.recipe)
    workshop.publish_recipe(session)
    listen_if_live(workshop, session)
    return True


@action("mixer.live")
def set_live(workshop: Workshop, session: Session, payload: dict[str, Any]) -> None:
    session.live = bool(payload["live"])
    workshop.publish_recipe(session)
    listen_if_live(workshop, session)


@action("models.choose")
def choose_model(workshop: Workshop, session: Session, payload: dict[str, Any]) -> None:
    role, ref = payload["role"], payload.get("ref")
    if role not in ROLES or not (ref is None or isinstance(ref, str)):
        raise ValueError("no such role")
    if ref is not None and workshop.models.is_remote(ref):
        _fetch(workshop, session, role, ref)
        return
    if ref is not None:
        workshop.models.open(ref)  # refused with its own sentence before anything changes
    _take_model(workshop, session, role, ref)


def _take_model(workshop: Workshop, session: Session, role: str, ref: str | None) -> None:
    session.models[role] = ref
    _after_models(workshop, session)


def _after_models(workshop: Workshop, session: Session) -> None:
    workshop.publish_models(session)
    workshop.publish_recipe(session)
    listen_if_live(workshop, session)


def _fetch(workshop: Workshop, session: Session, role: str, ref: str) -> None:
    """A model of the Hub is downloaded as a job: the page stays usable, and a failure says why."""

    def work(job: Job) -> Generator[None, None, None]:
        job.report("fetch", name=ref)
        workshop.models.open(ref)
        yield
        _take_model(workshop, session, role, ref)

    pending = {**session.get("models"), "verdict": {"state": "pending", "mismatches": [], "warnings": []}}
    session.publish(models=pending)
    job = workshop.worker.submit(session.owner, "fetch", work, lane="disk", supersede=True)
    session.job = job.id

    def settled(job: Job) -> None:
        if job.error is not None:
            found = workshop.models.verdict(session.models)
            failed = {"sentence": job.error["sentence"], "remedy": job.error["remedy"]}
            told = {**found, "state": "bad", "mismatches": [failed]}
            session.publish(models={**session.get("models"), "verdict": told})

    workshop.follow(session, job, settled)


@action("models.swap")
def swap(workshop: Workshop, session: Session, payload: dict[str, Any]) -> None:
    """A becomes B; where the method can say it, the recipe turns with them, so that the mixture stays what it was."""
    with session.lock:
        session.models["a"], session.models["b"] = session.models.get("b"), session.models.get("a")
        mirror = session.recipe.spec.mirror
        if mirror is not None and not session.recipe.parts:
            mirrored = mirror(session.recipe.parameters)
            session.undo = [*session.undo, session.recipe][-UNDO_DEPTH:]
            session.recipe = MergeRecipe.build(session.recipe.method, {**session.recipe.parameters, **mirrored})
            session.preset = _same_preset(session.recipe)
    _after_models(workshop, session)


@action("compare.run")
def compare(workshop: Workshop, session: Session, payload: dict[str, Any]) -> None:
    """Listens now, whatever the live switch says; what is missing is named."""
    from ui.errors import ClipNotChosen

    if session.clip is None:
        raise ClipNotChosen()
    workshop.compare(session)


@action("job.cancel")
def cancel(workshop: Workshop, session: Session, payload: dict[str, Any]) -> bool:
    return workshop.worker.cancel(session.owner, str(payload["id"]))


@action("job.pause")
def pause(workshop: Workshop, session: Session, payload: dict[str, Any]) -> bool:
    return workshop.worker.pause(session.owner, str(payload["id"]), bool(payload["paused"]))
