"""Writing the merged model to disk, as a job of its own; the proof that what was saved is what was heard."""

import re
import secrets
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any

from merger.bilingual import Text, byte_size
from merger.recipe import MergeRecipe
from ui.errors import bad_recipe
from ui.sessions import Session
from ui.views import action
from ui.worker import Job
from ui.workshop import Workshop

NAME = re.compile(r"^[\w][\w .+-]{0,80}$")


def folder_name(workshop: Workshop, owner: str, name: str | None) -> str:
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
    workshop: Workshop, owner: str, recipe: MergeRecipe, models: Mapping[str, str | None], name: str | None
) -> tuple[Job, str]:
    """Queues an export; returns the job and the folder's name."""
    sources = workshop.sources(models, recipe)
    folder = folder_name(workshop, owner, name)
    target = workshop.settings.export_root / folder

    def work(job: Job) -> Generator[None, None, dict[str, Any]]:
        from merger.disk import merge_to_folder

        job.report("export.check")
        yield
        report = merge_to_folder(
            recipe,
            sources if recipe.spec.needs_base else {role: sources[role] for role in ("a", "b")},
            target,
            device="cpu",  # the device's own memory belongs to those who are listening
            on_progress=lambda progress: job.report("export.write", progress.done_bytes, progress.total_bytes),
            cancelled=job.cancelled,
        )
        return {"folder": folder, "report": report.to_json(), **described(target)}

    return workshop.worker.submit(owner, "export", work, lane="disk"), folder


def described(folder: Path) -> dict[str, Any]:
    """Files with sizes, and the model card."""
    files = sorted(path for path in folder.iterdir() if path.is_file())
    card = folder / "README.md"
    return {
        "files": [
            {"name": path.name, "bytes": path.stat().st_size,
             "size": {lang: byte_size(path.stat().st_size, lang) for lang in ("ru", "en")}}
            for path in files
        ],
        "card": card.read_text(encoding="utf-8") if card.exists() else "",
    }  # fmt: skip


@action("export.start")
def start(workshop: Workshop, session: Session, payload: dict[str, Any]) -> None:
    name = payload.get("name")
    recipe, models = session.recipe, dict(session.models)
    job, folder = submit(workshop, session.owner, recipe, models, str(name) if name else None)
    head = {"folder": folder, "recipe": recipe.to_json()}

    def publish(changed: Job) -> None:
        session.publish(export={**head, "job": workshop.worker.to_json(changed), "result": changed.result})

    workshop.follow(session, job, publish)
