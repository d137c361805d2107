"""The mixer's actions: models, recipe, presets, undo. The page draws itself from what is published."""

from collections.abc import Generator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from merger.errors import WhisperMergeError
from merger.fitting import require_fit
from merger.recipe import MergeRecipe, parse_json
from ui.catalog import PRESETS, preset
from ui.models import ROLES, SOURCES, taking_part
from ui.recipe_changes import fitted, mirrored
from ui.sessions import Session
from ui.views import action
from ui.worker import FINISHED, Job, JobState
from ui.workshop import Workshop

UNDO_DEPTH = 100


@dataclass(frozen=True)
class Mixed:
    """What an undo brings back: a recipe says nothing without the models that it mixes."""

    models: Mapping[str, str | None]
    recipe: MergeRecipe


def take(
    workshop: Workshop,
    session: Session,
    *,
    models: Mapping[str, str | None] | None = None,
    recipe: MergeRecipe | None = None,
    preset_name: str | None = None,
) -> None:
    """Makes models and recipe the session's own, one step for undo, and listens if that is wanted.

    What is left out stays; roles that `models` does not name stay as well.
    """
    _change(session, models, recipe, preset_name)
    _publish(workshop, session, with_models=models is not None)


def _change(
    session: Session,
    models: Mapping[str, str | None] | None = None,
    recipe: MergeRecipe | None = None,
    preset_name: str | None = None,
) -> None:
    with session.lock:
        before = _mixed(session)
        chosen = {**session.models, **(models or {})}
        recipe = recipe or fitted(session.recipe, _sources(session.models), _sources(chosen))
        _require_fit(recipe, chosen)
        session.models = chosen
        if recipe is not session.recipe:
            session.recipe, session.preset = recipe, preset_name or _same_preset(recipe)
        if (session.models, session.recipe.digest) != (before.models, before.recipe.digest):
            session.undo = [*session.undo, before][-UNDO_DEPTH:]
            session.redo = []


def _require_fit(recipe: MergeRecipe, models: Mapping[str, str | None]) -> None:
    """Raises BadRecipe for weights that are not one per chosen model; a missing base is asked for by the page."""
    mixed = {role: ref for role, ref in models.items() if ref}
    if "a" in mixed and "b" in mixed:
        require_fit(recipe, {**taking_part(recipe, mixed), "base": mixed.get("base", "")})


def _sources(models: Mapping[str, str | None]) -> list[str]:
    return [ref for role in SOURCES if (ref := models.get(role))]


def _mixed(session: Session) -> Mixed:
    return Mixed(dict(session.models), session.recipe)


def _publish(workshop: Workshop, session: Session, with_models: bool) -> None:
    if with_models:
        workshop.publish_models(session)
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
        take(workshop, session, recipe=recipe)
    return True


@action("mixer.paste")
def paste(workshop: Workshop, session: Session, payload: dict[str, Any]) -> dict[str, Any]:
    """A recipe as somebody copied it, with its models where it names them; an exported recipe.json is taken as well.

    Returns `missing`: the models that are not to be had here. The recipe then holds for those on the page.
    """
    parsed = parse_json(str(payload["text"]))
    inner = parsed.get("recipe") if isinstance(parsed, dict) and isinstance(parsed.get("recipe"), dict) else parsed
    named = MergeRecipe.from_json(inner)
    recipe, models = replace(named, sources={}), _named_models(named)
    missing = [ref for ref in (models or {}).values() if ref and not _to_be_had(workshop, ref)]
    if models is None or missing:
        take(workshop, session, recipe=recipe)
    elif any(ref and workshop.models.is_remote(ref) for ref in models.values()):
        _fetch(workshop, session, models, recipe)
    else:
        take(workshop, session, models=models, recipe=recipe)
    return {"missing": missing}


def _named_models(recipe: MergeRecipe) -> dict[str, str | None] | None:
    """The models that a recipe names by role; None where it does not name both A and B."""
    named = {role: ref for role, ref in recipe.sources.items() if role in ROLES}
    if not {"a", "b"} <= set(named):
        return None
    others = SOURCES if recipe.spec.sources == "many" else ()
    return {**dict.fromkeys(others), **named}


def _to_be_had(workshop: Workshop, ref: str) -> bool:
    if workshop.models.is_remote(ref):
        return True
    try:
        workshop.models.open(ref)
    except WhisperMergeError:
        return False
    return True


@action("mixer.preset")
def take_preset(workshop: Workshop, session: Session, payload: dict[str, Any]) -> None:
    chosen = preset(str(payload["name"]))
    take(workshop, session, recipe=chosen.recipe, preset_name=chosen.name)


@action("mixer.reset")
def reset(workshop: Workshop, session: Session, payload: dict[str, Any]) -> None:
    """The chosen method with the guide's defaults."""
    take(workshop, session, recipe=MergeRecipe.build(session.recipe.method))


@action("mixer.undo")
def undo(workshop: Workshop, session: Session, payload: dict[str, Any]) -> bool:
    return _step(workshop, session, session.undo, session.redo)


@action("mixer.redo")
def redo(workshop: Workshop, session: Session, payload: dict[str, Any]) -> bool:
    return _step(workshop, session, session.redo, session.undo)


def _step(workshop: Workshop, session: Session, source: list[Mixed], target: list[Mixed]) -> bool:
    with session.lock:
        if not source:
            return False
        before, back = _mixed(session), source.pop()
        target.append(before)
        session.models, session.recipe = dict(back.models), back.recipe
        session.preset = _same_preset(session.recipe)
    _publish(workshop, session, with_models=before.models != back.models)
    return True


@action("mixer.live")
def set_live(workshop: Workshop, session: Session, payload: dict[str, Any]) -> None:
    session.live = bool(payload["live"])
    workshop.publish_recipe(session)
    listen_if_live(workshop, session)


@action("models.options")
def refresh_options(workshop: Workshop, session: Session, payload: dict[str, Any]) -> None:
    """What can be chosen now: exports and folders come and go while a page is open."""
    workshop.publish_models(session)


@action("models.choose")
def choose_model(workshop: Workshop, session: Session, payload: dict[str, Any]) -> None:
    role, ref = payload["role"], payload.get("ref")
    if role not in ROLES or not (ref is None or isinstance(ref, str)):
        raise ValueError("no such role")
    models = {role: ref}
    if role == "c" and ref is None:
        models["c"], models["d"] = session.mixture()[1].get("d"), None  # no gap: D takes the place of C
    if ref is not None and workshop.models.is_remote(ref):
        _fetch(workshop, session, models)
        return
    if ref is not None:
        workshop.models.open(ref)  # refused with its own sentence before anything changes
    take(workshop, session, models=models)


def _fetch(
    workshop: Workshop, session: Session, models: Mapping[str, str | None], recipe: MergeRecipe | None = None
) -> None:
    """Models of the Hub are downloaded as a job: the page stays usable, and a failure says why."""

    def work(job: Job) -> Generator[None, None, None]:
        for ref in models.values():
            if ref is not None:
                job.report("fetch", name=ref)
                workshop.models.open(ref)
                yield
        with session.lock:
            job.check()
            session.fetching = False
            take(workshop, session, models=models, recipe=recipe)

    def settled(job: Job) -> None:
        if job.state not in FINISHED or job.state is JobState.DONE:
            return
        session.fetching = False
        workshop.publish_models(session)
        if job.error is not None:  # beside the models that stay, which are as good as they were
            failed = {"sentence": job.error["sentence"], "remedy": job.error["remedy"]}
            session.publish(models={**session.get("models"), "failed": failed})

    with session.lock:
        job = workshop.worker.submit(session.owner, "fetch", work, lane="disk", supersede=True)
        session.fetching = True
        workshop.publish_models(session)
        workshop.show(session, job)
        workshop.follow(session, job, settled)


@action("models.swap")
def swap(workshop: Workshop, session: Session, payload: dict[str, Any]) -> None:
    """A becomes B; where the method can say it, the recipe turns with them, so that the mixture stays what it was."""
    with session.lock:
        exchanged = {"a": session.models.get("b"), "b": session.models.get("a")}
        _change(session, exchanged, mirrored(session.recipe))
    _publish(workshop, session, with_models=True)


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
