"""Models of the Hugging Face Hub: configs first, weights only once they are known to fit."""

from __future__ import annotations

from pathlib import Path

from merger.bilingual import Text
from merger.checkpoint import Checkpoint, open_folder
from merger.errors import Offline

SMALL_FILES = ("*.json", "*.txt", "*.jinja")
WEIGHTS = ("*.safetensors",)


def open_from_hub(hub_id: str, revision: str | None = None) -> Checkpoint:
    """Fetch a model and open it. Raises Offline at once if the Hub cannot be reached and nothing is cached."""
    folder = _snapshot(hub_id, revision, (*SMALL_FILES, *WEIGHTS))
    return open_folder(folder, location=hub_id, hub_id=hub_id, revision=folder.name)


def _snapshot(hub_id: str, revision: str | None, patterns: tuple[str, ...]) -> Path:
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError
    except ImportError as error:
        raise Offline(model=hub_id, detail=Text("нет huggingface_hub", "huggingface_hub is missing")) from error
    try:
        return Path(snapshot_download(hub_id, revision=revision, allow_patterns=list(patterns), etag_timeout=5))
    except RepositoryNotFoundError as error:
        detail = Text("такой модели нет или она закрыта", "there is no such model, or it is private")
        raise Offline(model=hub_id, detail=detail) from error
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        detail = Text("нет связи, и на диске её нет", "no connection, and it is not on the disk")
        raise Offline(model=hub_id, detail=detail) from error
