"""Writing the merged model to disk, as a job of its own; the proof that what was saved is what was heard; the Hub."""

import itertools
import os
import re
import secrets
from collections.abc import Callable, Generator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from merger.bilingual import Text, byte_size
from merger.checkpoint import Checkpoint, read_json
from merger.errors import WhisperMergeError
from merger.recipe import MergeRecipe
from ui.errors import ExportsFull, NotFound, bad_recipe, size_text
from ui.jobs import Work
from ui.journal import resumes
from ui.models import taking_part
from ui.sessions import Session
from ui.settings import GB
from ui.views import action
from ui.worker import FINISHED, Job
from ui.workshop import Workshop

NAME = re.compile(r"^[\w][\w .+-]{0,80}$")
SMALL_FILE = 1_000_000  # bytes up to which a file can be taken through the page


def folder_name(workshop: Workshop, name: str | None) -> str:
    """The export's folder inside the export root. On a public server it is never the visitor's choice."""
    if workshop.settings.public or not name or not name.strip():
        return f"merge-{secrets.token_hex(5)}"
    if not NAME.match(name.strip()) or ".." in name:
        raise bad_recipe(
            Text(f"Имя папки «{name}» не годится.", f"The folder name “{name}” will not do."),
            Text("Возьмите буквы, цифры, пробел, точку, _, + и -.", "Use letters, digits, space, dot, _, + and -."),
        )
    return name.strip()


def submit(
    workshop: Workshop,
    owner: str,
    recipe: MergeRecipe,
    models: Mapping[str, str | None],
    name: str | None,
    written: Callable[[Job, str, Mapping[str, Checkpoint]], None] = lambda job, folder, sources: None,
) -> tuple[Job, str]:
    """Queues an export; returns the job and the folder's name. `written(job, folder, sources)` once it is on disk."""
    sources = workshop.sources(models, recipe)
    wanted = folder_name(workshop, name)
    _check_room(workshop, sources["a"].nbytes)
    with workshop.exports_lock:
        folder = _free(workshop, wanted)
        job = workshop.exports[folder] = workshop.worker.submit(
            owner, "export", _writing(workshop, recipe, sources, folder, written), lane="disk",
            durable={"recipe": recipe.to_json(), "models": dict(models), "folder": folder},
        )  # fmt: skip
    return job, folder


def _check_room(workshop: Workshop, needed: int) -> None:
    """Raises ExportsFull where the exports would take more than the settings allow."""
    limit = round(workshop.settings.max_exports_gb * GB)
    held = _size_of(workshop.settings.export_root)
    if held + needed > limit:
        raise ExportsFull(needed=size_text(needed), limit=size_text(limit))


def _size_of(root: Path) -> int:
    """Bytes of all files below a folder; what is renamed or removed meanwhile does not count."""
    total = 0
    for folder, _, names in os.walk(root):
        for name in names:
            with suppress(FileNotFoundError):
                total += os.lstat(os.path.join(folder, name)).st_size
    return total


@resumes("export")
def again(workshop: Workshop, owner: str, kept: dict[str, Any], job_id: str) -> Job:
    """An export that the last server did not finish; one that was finished, and not written down, is done at once."""
    recipe = MergeRecipe.from_json(kept["recipe"])
    sources = workshop.sources(kept["models"], recipe)
    with workshop.exports_lock:
        folder = kept["folder"]
        if not _is_written(workshop.settings.export_root / folder, recipe):
            folder = _free(workshop, folder)
        work = _writing(workshop, recipe, sources, folder)
        job = workshop.exports[folder] = workshop.worker.submit(
            owner, "export", work, lane="disk", durable={**kept, "folder": folder}, job_id=job_id
        )
    return job


def _is_written(target: Path, recipe: MergeRecipe) -> bool:
    """Whether the folder holds this recipe's merge; a folder appears whole or not at all."""
    try:
        return read_json(target / "recipe.json").get("digest") == recipe.digest
    except WhisperMergeError:
        return False


def _writing(
    workshop: Workshop,
    recipe: MergeRecipe,
    sources: Mapping[str, Checkpoint],
    folder: str,
    written: Callable[[Job, str, Mapping[str, Checkpoint]], None] = lambda job, folder, sources: None,
) -> Work:
    def work(job: Job) -> Generator[None, None, dict[str, Any]]:
        from merger.disk import merge_to_folder

        job.report("export.check")
        yield
        target = workshop.settings.export_root / folder
        if _is_written(target, recipe):
            return {"folder": folder, "report": None, **described(target)}
        report = merge_to_folder(
            recipe,
            taking_part(recipe, sources),
            target,
            device="cpu",  # the device's own memory belongs to those who are listening
            on_progress=lambda now: job.report(
                "export.verify" if now.stage == "verifying" else "export.write", now.done_bytes, now.total_bytes
            ),
            cancelled=job.cancelled,
        )
        told = {lang: {**report.to_json(lang), "folder": folder} for lang in ("ru", "en")}
        written(job, folder, sources)
        return {"folder": folder, "report": told, **described(target)}

    return work


def _free(workshop: Workshop, name: str) -> str:
    """The name, with a number after it where an export of that name is there or on its way: none is written over."""

    def taken(tried: str) -> bool:
        coming = workshop.exports.get(tried)
        on_its_way = coming is not None and coming.state not in FINISHED
        return on_its_way or os.path.lexists(workshop.settings.export_root / tried)

    numbered = (f"{name} {number}" for number in itertools.count(2))
    return next(tried for tried in itertools.chain([name], numbered) if not taken(tried))


def described(folder: Path) -> dict[str, Any]:
    """Files with sizes, the small ones with their text, and the model card."""
    files = sorted(path for path in folder.iterdir() if path.is_file())
    card = folder / "README.md"
    return {
        "files": [
            {
                "name": path.name,
                "size": {lang: byte_size(path.stat().st_size, lang) for lang in ("ru", "en")},
                "small": path.stat().st_size <= SMALL_FILE and path.suffix in {".json", ".md", ".txt"},
            }
            for path in files
        ],
        "card": card.read_text(encoding="utf-8") if card.exists() else "",
    }


@action("export.start")
def start(workshop: Workshop, session: Session, payload: dict[str, Any]) -> None:
    """Writes the session's merge; when it is on disk, the proof follows on the device."""
    name = payload.get("name")
    (recipe, models), clip_id = session.mixture(), session.clip
    head = {
        "recipe": recipe.to_json(),
        "sentence": {lang: workshop.sentence(recipe, models).get(lang) for lang in ("ru", "en")},
    }
    state: dict[str, Any] = {"proof": None, "proving": None}

    def show(job: Job, folder: str) -> None:
        if session.notes.get("export") == folder:  # otherwise the page is with a later one: the proof comes late
            told = {**head, "folder": folder, "job": workshop.worker.to_json(job), "result": job.result, **state}
            session.publish(export=told)

    def written(job: Job, folder: str, sources: Mapping[str, Checkpoint]) -> None:
        def prove(proving: Job) -> None:
            state["proving"] = workshop.worker.to_json(proving)
            state["proof"] = proving.result
            show(job, folder)

        # A model that has gone since then fails the proof, with its own sentence, and not the export.
        work = _proof(workshop, session.owner, recipe, sources, clip_id, folder)
        workshop.follow(session, workshop.worker.submit(session.owner, "proof", work, sequel=True), prove)

    job, folder = submit(workshop, session.owner, recipe, models, str(name) if name else None, written)
    session.notes["export"] = folder
    workshop.follow(session, job, lambda changed: show(changed, folder))


def _proof(
    workshop: Workshop,
    owner: str,
    recipe: MergeRecipe,
    sources: Mapping[str, Checkpoint],
    clip_id: str | None,
    folder: str,
) -> Any:
    """Every saved tensor against the one in device memory, and the saved model's transcript against the live one."""

    def work(job: Job) -> Generator[None, None, dict[str, Any]]:
        pair = yield from workshop.loaded(job, sources)
        clip = workshop.clips.sound(owner, clip_id) if clip_id is not None else None
        job.report("export.verify" if clip is None else "export.listen")
        found = pair.prove(recipe, workshop.settings.export_root / folder, clip, job.cancelled)
        texts = {"live": found.live, "saved": found.saved, "same": found.live == found.saved}
        return {"equal": found.equal, "total": found.total, "texts": None if clip is None else texts}

    return work


def exported_folder(workshop: Workshop, session: Session) -> Path:
    """Where the session's last export lies. Raises NotFound."""
    folder = session.notes.get("export")
    path = workshop.settings.export_root / folder if folder else None
    if path is None or not path.is_dir():
        raise NotFound(what=Text("выпуск", "export"))
    return path


@action("export.file")
def small_file(workshop: Workshop, session: Session, payload: dict[str, Any]) -> str:
    """The text of one of the export's small files."""
    folder = exported_folder(workshop, session)
    path = folder / str(payload["name"])
    if path.parent != folder or not path.is_file() or path.is_symlink() or path.stat().st_size > SMALL_FILE:
        raise NotFound(what=Text("файл", "file"))
    return path.read_text(encoding="utf-8")
