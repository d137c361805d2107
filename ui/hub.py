"""Sending an export to the Hugging Face Hub: in the visitor's own name on a Space, with the server's token in a lab.

On a Space the visitor signs in with Hugging Face (OAuth; Gradio keeps the login in the browser's signed cookie). The
token comes with the request, lives as long as the job that sends the files, and is neither stored, shown nor logged.
Elsewhere the token is the server's `HF_TOKEN`. Nobody ever types one.
"""

import os
import re
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from merger.bilingual import Text
from merger.errors import WhisperMergeError
from ui.errors import NotFound, bad_recipe
from ui.export import exported_folder
from ui.sessions import Session
from ui.settings import Settings
from ui.views import action
from ui.worker import Job
from ui.workshop import Workshop

HUB_NAME = r"[\w-][\w.-]{0,95}/[\w-][\w.-]{0,95}"
SPACE_SETTINGS = ("SPACE_ID", "OAUTH_CLIENT_ID", "OAUTH_CLIENT_SECRET", "OAUTH_SCOPES", "OPENID_PROVIDER_URL")


class HubPushFailed(WhisperMergeError):
    """The Hub did not take an export. Facts: `repository`, `reason` (Text)."""

    code = "HUB_PUSH_FAILED"
    sentence_text = Text(
        "Hub не принял «{repository}»: {reason}.", "The Hub did not take “{repository}”: {reason}."
    )
    remedy_text = Text(
        "Проверьте имя и право записи, затем отправьте ещё раз: что уже передано, второй раз не передаётся.",
        "Check the name and the right to write, then send again: what is there already is not sent twice.",
    )


@dataclass(frozen=True)
class SignedIn:
    """Who asks, and with what right. The token is kept out of every representation."""

    name: str
    token: str = field(repr=False)


_visitor: ContextVar[SignedIn | None] = ContextVar("whisper_merge_hub_visitor", default=None)


@contextmanager
def asked_by(profile: Any, token: Any) -> Iterator[None]:
    """For the time of one action: who is signed in, as Gradio tells it (`gr.OAuthProfile`, `gr.OAuthToken` or None)."""
    known = SignedIn(str(profile.username), token.token) if profile is not None and token is not None else None
    before = _visitor.set(known)
    try:
        yield
    finally:
        _visitor.reset(before)


def login_offered() -> bool:
    """Whether this is a Space with `hf_oauth: true` in its metadata, and Gradio's login can work."""
    packages = all(find_spec(name) is not None for name in ("authlib", "itsdangerous"))
    return packages and all(os.environ.get(name) for name in SPACE_SETTINGS)


def way(settings: Settings) -> str | None:
    """How an export gets to the Hub here: "login", "token" (the server's), or not at all."""
    if login_offered():
        return "login"
    return "token" if os.environ.get("HF_TOKEN") and not settings.public else None


@action("hub.who")
def who(workshop: Workshop, session: Session, payload: dict[str, Any]) -> dict[str, Any]:
    """How an export is sent, and in whose name."""
    visitor = _visitor.get()
    return {"way": way(workshop.settings), "name": visitor.name if visitor else None}


@action("export.push")
def push(workshop: Workshop, session: Session, payload: dict[str, Any]) -> None:
    """Sends the session's finished export, private unless asked otherwise."""
    target = exported_folder(workshop, session)
    repository = str(payload.get("repository") or "")
    token = _token(workshop.settings)
    if not _is_hub_name(repository):
        raise bad_recipe(
            Text(f"Имя «{repository}» не годится.", f"The name “{repository}” will not do."),
            Text("Оно выглядит так: автор/модель.", "It looks like author/model."),
        )
    told = {"repository": repository, "url": f"https://huggingface.co/{repository}"}

    def work(job: Job) -> Generator[None, None, None]:
        job.report("export.push")
        yield
        _send(target, repository, token, private=not payload.get("open"))

    job = workshop.worker.submit(session.owner, "push", work, lane="disk", supersede=True)
    workshop.show(session, job)
    workshop.follow(session, job, lambda now: session.publish(push={**told, "job": workshop.worker.to_json(now)}))


def _token(settings: Settings) -> str:
    """Raises NotFound where nobody's token is to be had."""
    visitor, how = _visitor.get(), way(settings)
    if how == "login" and visitor is not None:
        return visitor.token
    if how == "token":
        return os.environ["HF_TOKEN"]
    raise NotFound(what=Text("вход в Hugging Face", "a login to Hugging Face"))


def _is_hub_name(text: str) -> bool:
    return re.fullmatch(HUB_NAME, text, re.ASCII) is not None and ".." not in text and "--" not in text


def _send(folder: Path, repository: str, token: str, *, private: bool) -> None:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    hub = HfApi(token=token)
    try:
        hub.create_repo(repository, private=private, exist_ok=True)
        hub.upload_folder(repo_id=repository, folder_path=folder)
    except HfHubHTTPError as error:
        status = getattr(error.response, "status_code", None)
        reasons = {
            401: Text("вход не признан", "the login is not recognised"),
            403: Text("нет права записи", "there is no right to write"),
        }
        unknown = Text(f"ответ {status}", f"answer {status}")
        raise HubPushFailed(repository=repository, reason=reasons.get(status or 0, unknown)) from None
    except OSError:
        reason = Text("нет связи с Hugging Face", "Hugging Face cannot be reached")
        raise HubPushFailed(repository=repository, reason=reason) from None
