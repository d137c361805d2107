"""Models of the Hugging Face Hub: configs first, weights only once they are known to fit."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING

from merger.bilingual import Text, byte_size
from merger.errors import MissingFile, ModelTooLarge, Offline, UnsafeFormat

if TYPE_CHECKING:
    from huggingface_hub.hf_api import ModelInfo

log = logging.getLogger(__name__)

SMALL_FILES = ("*.json", "*.txt", "*.jinja", "README.md")
WEIGHTS = ("*.safetensors",)
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")
# How long to wait for the Hub's answer before what lies in the cache is used.
ANSWER_SECONDS = 5


@dataclass(frozen=True)
class HubRules:
    """`anonymous`: without this machine's token, so that strangers read nothing it opens. `max_bytes` of weights."""

    anonymous: bool = False
    max_bytes: int | None = None


def fetch_small_files(hub_id: str) -> Path:
    """Configs, tokenizer and card of a model in the Hub's cache, resolved to a commit. Raises Offline."""
    return _snapshot(hub_id, SMALL_FILES, HubRules())


def fetch_model(hub_id: str, rules: HubRules | None = None) -> Path:
    """The whole model in the Hub's cache: safetensors and what lies beside them, nothing else.

    Raises Offline, UnsafeFormat or MissingFile where there are none, and ModelTooLarge before anything is fetched.
    """
    rules = rules or HubRules()
    folder = _snapshot(hub_id, (*SMALL_FILES, *WEIGHTS), rules)
    if not any(next(folder.glob(pattern), None) for pattern in WEIGHTS):
        raise _without_safetensors(hub_id, rules)
    return folder


def _without_safetensors(hub_id: str, rules: HubRules) -> UnsafeFormat | MissingFile:
    """What to say of a model that has nothing to read: pickles are not fetched, so the Hub is asked about them."""
    info = _told(hub_id, rules)
    names = sorted(file.rfilename for file in (info.siblings if info else None) or [] if "/" not in file.rfilename)
    pickled = [name for name in names if any(fnmatch(name, pattern) for pattern in PICKLES)]
    if pickled:
        return UnsafeFormat(file=f"{hub_id}/{pickled[0]}")
    detail = Text(f"у модели «{hub_id}» нет весов в safetensors", f"“{hub_id}” has no weights in safetensors")
    advice = Text(
        f"Возможно, её веса записаны в pickle. {UnsafeFormat.remedy_text.ru}",
        f"Its weights may be pickled. {UnsafeFormat.remedy_text.en}",
    )
    return MissingFile(file="model.safetensors", detail=detail, advice=advice)


def _told(hub_id: str, rules: HubRules) -> ModelInfo | None:
    """What the Hub tells of a model and its files; None where it does not answer."""
    from huggingface_hub import HfApi

    try:
        token = False if rules.anonymous else None
        return HfApi(token=token).model_info(hub_id, files_metadata=True, timeout=ANSWER_SECONDS)
    except Exception as error:  # the library lets its HTTP client's own errors through
        log.info("the Hub tells nothing of %s: %s", hub_id, type(error).__name__)
        return None


def _commit_within(hub_id: str, rules: HubRules) -> str | None:
    """The commit whose weights were found small enough; None where the Hub does not answer. Raises ModelTooLarge."""
    info = _told(hub_id, rules)
    if info is None:
        return None
    weights = sum(file.size or 0 for file in info.siblings or [] if file.rfilename.endswith(".safetensors"))
    if rules.max_bytes is not None and weights > rules.max_bytes:
        raise too_large(hub_id, weights, rules.max_bytes)
    commit: str | None = info.sha
    return commit


def too_large(model: str, nbytes: int, limit: int) -> ModelTooLarge:
    """The error for weights of `nbytes`."""
    size, most = (Text(byte_size(count, "ru"), byte_size(count, "en")) for count in (nbytes, limit))
    return ModelTooLarge(model=model, size=size, limit=most)


def _snapshot(hub_id: str, patterns: Sequence[str], rules: HubRules) -> Path:
    try:
        import huggingface_hub
        from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError
    except ImportError as error:
        raise Offline(model=hub_id, detail=Text("нет пакета huggingface_hub", "huggingface_hub is missing")) from error
    commit = None if rules.max_bytes is None else _commit_within(hub_id, rules)
    try:
        folder = huggingface_hub.snapshot_download(
            hub_id,
            allow_patterns=list(patterns),
            etag_timeout=ANSWER_SECONDS,
            revision=commit,
            token=False if rules.anonymous else None,
            local_files_only=rules.max_bytes is not None and commit is None,  # of unknown size: only what is here
        )
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        detail = Text("такой модели нет или она закрыта", "there is no such model, or it is private")
        raise Offline(model=hub_id, detail=detail) from error
    except Exception as error:
        # The library lets its HTTP client's own errors through; whatever it was, the model did not come.
        detail = Text("нет связи, и на диске её нет", "no connection, and it is not on the disk")
        raise Offline(model=hub_id, detail=detail) from error
    return Path(folder)
