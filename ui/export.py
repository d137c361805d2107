"""Writing the merged model to disk, as a job of its own; the proof that what was saved is what was heard; the Hub."""

import itertools
import os
import re
import secrets
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import Any

from evaluation.transcriber import HuggingFaceTranscriber
from merger.bilingual import Text, byte_size
from merger.checkpoint import Checkpoint, open_checkpoint
from merger.recipe import MergeRecipe
from ui.comparison import OPTIONS, Mixture
from ui.errors import NotFound, bad_recipe
from ui.sessions import Session
from ui.views import action
from ui.worker import FINISHED, Job
from ui.workshop import Workshop

NAME = re.compile(r"^[\w][\w .+-]{0,80}$")
HUB_NAME = re.compile(r"^[\w.-]+/[\w.-]+$", re.ASCII)
SMALL_FILE = 1_000_000  # bytes up to which a file can be taken through the page


def folder_name(workshop: Workshop, name: str | None) -> str:
    """The export's folder inside the export root. On a public server it is never the visitor's choice."""
    if workshop.settings.public or not name or not name.strip():
        return f"merge-{secrets.token_hex(5)}"
    if not NAME.match(name.strip()) or ".." in name:
        raise bad_recipe(
            Text(f"Имя папки «{name}» не годится.", f"The folder name “{name}” will not do."),
            Text("Возьмите буквы, цифры, пробел, точку, + и -.", "Use letters, digits, space, dot, + and -."),
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
    read = sources if recipe.spec.needs_base else {role: sources[role] for role in ("a", "b")}
    wanted = folder_name(workshop, name)

    def work(job: Job) -> Generator[None, None, dict[str, Any]]:
        from merger.disk import merge_to_folder

        job.report("export.check")
        yield
        target = workshop.settings.export_root / folder
        report = merge_to_folder(
            recipe,
            read,
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

    with workshop.exports_lock:
        folder = _free(workshop, wanted)
        job = workshop.exports[folder] = workshop.worker.submit(owner, "export", work, lane="disk")
    return job, folder


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
    recipe, models, clip_id = session.recipe, dict(session.models), session.clip
    head = {
        "recipe": recipe.to_json(),
        "sentence": {lang: workshop.sentence(recipe, models).get(lang) for lang in ("ru", "en")},
        "hub": bool(os.environ.get("HF_TOKEN")) and not workshop.settings.public,
    }
    state: dict[str, Any] = {"proof": None, "proving": None}

    def show(job: Job, folder: str) -> None:
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
        target = workshop.settings.export_root / folder
        job.report("export.verify")
        pair.live.apply(recipe, job.cancelled)
        with pair.live.lend("merged") as module:
            equal, total = tensors_equal(target, module.state_dict(), job)
        yield
        found: dict[str, Any] = {"equal": equal, "total": total, "texts": None}
        if clip_id is not None:
            job.report("export.listen")
            clip = workshop.clips.sound(owner, clip_id)
            pair = workshop.pairs.get(sources)
            live = workshop.listener.hear("merged", pair, Mixture(recipe, pair.fingerprints), clip, job.cancelled)
            saved = _saved_text(target, pair.live, clip, job)
            found["texts"] = {"live": live.transcript.text, "saved": saved, "same": live.transcript.text == saved}
        return found

    return work


def tensors_equal(folder: Path, live: Mapping[str, Any], job: Job) -> tuple[int, int]:
    """(how many saved tensors equal the live ones bit for bit in the saved precision, how many there are)."""
    import torch
    from safetensors import safe_open

    equal = total = 0
    for file in open_checkpoint(folder).files:
        with safe_open(file, framework="pt") as saved:
            for name in saved.keys():  # noqa: SIM118 (a safetensors file is no mapping)
                job.check()
                tensor = saved.get_tensor(name)
                total += 1
                equal += int(torch.equal(tensor, live[name].to("cpu", tensor.dtype)))
    return equal, total


def _saved_text(folder: Path, live: Any, clip: Any, job: Job) -> str:
    """What transformers' own `generate` writes with the saved folder, on the live merge's device and precision."""
    from transformers import WhisperForConditionalGeneration, WhisperProcessor

    module = WhisperForConditionalGeneration.from_pretrained(folder, dtype=live.dtype).to(live.device).eval()
    transcriber = HuggingFaceTranscriber(module, WhisperProcessor.from_pretrained(folder))
    return transcriber.transcribe(clip, OPTIONS, job.cancelled).text


def _exported(workshop: Workshop, session: Session) -> Path:
    folder = session.notes.get("export")
    path = workshop.settings.export_root / folder if folder else None
    if path is None or not path.is_dir():
        raise NotFound(what=Text("выпуск", "export"))
    return path


@action("export.file")
def small_file(workshop: Workshop, session: Session, payload: dict[str, Any]) -> str:
    """The text of one of the export's small files."""
    folder = _exported(workshop, session)
    path = folder / str(payload["name"])
    if path.parent != folder or not path.is_file() or path.is_symlink() or path.stat().st_size > SMALL_FILE:
        raise NotFound(what=Text("файл", "file"))
    return path.read_text(encoding="utf-8")


@action("export.push")
def push(workshop: Workshop, session: Session, payload: dict[str, Any]) -> None:
    """Sends the finished export to the Hub with the server's token, private unless asked otherwise; lab only."""
    target = _exported(workshop, session)
    repository = str(payload.get("repository") or "")
    if not HUB_NAME.match(repository) or workshop.settings.public or not os.environ.get("HF_TOKEN"):
        raise bad_recipe(
            Text(f"Имя «{repository}» не годится.", f"The name “{repository}” will not do."),
            Text("Оно выглядит так: автор/модель.", "It looks like author/model."),
        )

    def work(job: Job) -> Generator[None, None, None]:
        from huggingface_hub import HfApi

        job.report("export.push")
        yield
        hub = HfApi(token=os.environ["HF_TOKEN"])
        hub.create_repo(repository, private=not payload.get("open"), exist_ok=True)
        hub.upload_folder(repo_id=repository, folder_path=target)

    job = workshop.worker.submit(session.owner, "push", work, lane="disk", supersede=True)
    session.job = job.id
