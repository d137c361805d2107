"""Models of the Hugging Face Hub: configs first, weights only once they are known to fit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from merger.bilingual import Text
from merger.errors import Offline

SMALL_FILES = ("*.json", "*.txt", "*.jinja", "README.md")
WEIGHTS = ("*.safetensors",)
# How long to wait for the Hub's answer before what lies in the cache is used.
ANSWER_SECONDS = 5


def fetch_small_files(hub_id: str) -> Path:
    """Configs, tokenizer and card of a model in the Hub's cache, resolved to a commit. Raises Offline."""
    return _snapshot(hub_id, SMALL_FILES)


def fetch_model(hub_id: str) -> Path:
    """The whole model in the Hub's cache: safetensors and what lies beside them, nothing else. Raises Offline."""
    return _snapshot(hub_id, (*SMALL_FILES, *WEIGHTS))


def _snapshot(hub_id: str, patterns: Sequence[str]) -> Path:
    try:
        import huggingface_hub
        from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError
    except ImportError as error:
        raise Offline(model=hub_id, detail=Text("нет пакета huggingface_hub", "huggingface_hub is missing")) from error
    try:
        folder = huggingface_hub.snapshot_download(
            hub_id, allow_patterns=list(patterns), etag_timeout=ANSWER_SECONDS
        )
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        detail = Text("такой модели нет или она закрыта", "there is no such model, or it is private")
        raise Offline(model=hub_id, detail=detail) from error
    except Exception as error:
        # The library lets its HTTP client's own errors through; whatever it was, the model did not come.
        detail = Text("нет связи, и на диске её нет", "no connection, and it is not on the disk")
        raise Offline(model=hub_id, detail=detail) from error
    return Path(folder)
