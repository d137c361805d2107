"""Sending an export to the Hub with a stand-in: whose name, whose token, and that the token stays nowhere."""

import logging
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from gradio.helpers import special_args

from tests.ui.acting import act
from tests.ui.conftest import OWNER
from ui import hub, studio
from ui.errors import NotFound
from ui.sessions import owner_of
from ui.settings import Settings
from ui.workshop import Workshop

SECRET_TOKEN = "hf_" + "Z" * 34
BROWSER = "browser-" + "q" * 30


class StandIn:
    """What `HfApi` is asked for."""

    asked: ClassVar[list[tuple[str, Any]]] = []
    fault: ClassVar[Exception | None] = None

    def __init__(self, token: str) -> None:
        self.asked.append(("token", token))

    def create_repo(self, repository: str, *, private: bool, exist_ok: bool) -> None:
        if self.fault is not None:
            raise self.fault
        self.asked.append(("create", (repository, private)))

    def upload_folder(self, *, repo_id: str, folder_path: Path) -> None:
        self.asked.append(("upload", (repo_id, sorted(path.name for path in folder_path.iterdir()))))


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> type[StandIn]:
    monkeypatch.setattr("huggingface_hub.HfApi", StandIn)
    monkeypatch.setattr(StandIn, "asked", [])
    monkeypatch.setattr(StandIn, "fault", None)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    return StandIn


@pytest.fixture
def space(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of a Space with `hf_oauth: true`."""
    for name in hub.SPACE_SETTINGS:
        monkeypatch.setenv(name, "x")
    monkeypatch.setattr(hub, "find_spec", lambda name: object())


def finished(workshop: Workshop, owner: str) -> Any:
    session = workshop.session(owner)
    job = workshop.worker.job(owner, session.job or "")
    assert job is not None and job.wait(60)
    return job


def exported(workshop: Workshop, owner: str, name: str = "mine") -> None:
    act(workshop, workshop.session(owner), "export.start", name=name)
    (job,) = [job for job in workshop.worker.jobs(owner) if job.kind == "export"]
    assert job.wait(60) and job.error is None


def asked(workshop: Workshop, action: str, login: dict[str, Any] | None, **payload: Any) -> dict[str, Any]:
    """One action as a browser sends it; Gradio reads the login from its signed session."""
    function = studio._act(workshop)
    session = {"oauth_info": login} if login else {}
    request = SimpleNamespace(scope={"session": session}, session=session)
    given, *_ = special_args(function, [{"owner": BROWSER, "action": action, "payload": payload}], request)
    return function(*given)


def login(expires: float = 3600.0) -> dict[str, Any]:
    who = {"name": "Анна", "preferred_username": "anna", "profile": "", "picture": ""}
    token = {"access_token": SECRET_TOKEN, "scope": "write-repos"}
    return {"userinfo": who, **token, "expires_at": int(time.time() + expires)}


def test_a_visitor_of_a_space_sends_in_their_own_name(
    workshop: Workshop, stand_in: type[StandIn], space: None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    owner = owner_of(BROWSER)
    exported(workshop, owner)
    assert asked(workshop, "hub.who", None)["result"] == {"way": "login", "name": None}
    assert asked(workshop, "hub.who", login())["result"] == {"way": "login", "name": "anna"}
    answer = asked(workshop, "export.push", login(), repository="anna/merge")
    assert finished(workshop, owner).error is None
    assert stand_in.asked[:2] == [("token", SECRET_TOKEN), ("create", ("anna/merge", True))]
    kind, (repository, files) = stand_in.asked[2]
    assert (kind, repository) == ("upload", "anna/merge") and {"model.safetensors", "README.md"} <= set(files)
    told = workshop.session(owner).get("push")
    assert told["url"] == "https://huggingface.co/anna/merge" and told["job"]["state"] == "done"
    # Nowhere else: not in the answer, the session, the jobs, the log, nor in any file.
    places = [answer, workshop.session(owner).__dict__, [vars(job) for job in workshop.worker.jobs()], caplog.text]
    assert SECRET_TOKEN not in repr(places)
    kept = [path for path in workshop.settings.data.rglob("*") if path.is_file()]
    assert kept and not any(SECRET_TOKEN.encode() in path.read_bytes() for path in kept)


def test_without_a_login_nothing_is_sent(workshop: Workshop, stand_in: type[StandIn], space: None) -> None:
    exported(workshop, owner_of(BROWSER))
    for nobody in (None, login(expires=-1)):
        assert asked(workshop, "export.push", nobody, repository="anna/merge")["error"]["code"] == "NOT_FOUND"
    assert stand_in.asked == []


def test_one_visitors_login_is_not_the_next_ones(workshop: Workshop, space: None) -> None:
    asked(workshop, "hub.who", login())
    assert asked(workshop, "hub.who", None)["result"]["name"] is None


def test_a_lab_sends_with_the_servers_token(
    workshop: Workshop, stand_in: type[StandIn], monkeypatch: pytest.MonkeyPatch
) -> None:
    exported(workshop, OWNER)
    session = workshop.session(OWNER)
    with pytest.raises(NotFound):
        act(workshop, session, "export.push", repository="lab/merge")
    monkeypatch.setenv("HF_TOKEN", SECRET_TOKEN)
    act(workshop, session, "export.push", repository="lab/merge", open=True)
    assert finished(workshop, OWNER).error is None
    assert stand_in.asked[:2] == [("token", SECRET_TOKEN), ("create", ("lab/merge", False))]


@pytest.mark.parametrize("name", ["", "merge", "a/b/c", "../etc", "a/..", "лаб/merge", "a/b c", "a/" + "x" * 200])
def test_a_name_that_is_none_is_refused(
    workshop: Workshop, stand_in: type[StandIn], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("HF_TOKEN", SECRET_TOKEN)
    exported(workshop, OWNER)
    with pytest.raises(Exception, match=r"author/model|автор/модель|Имя"):
        act(workshop, workshop.session(OWNER), "export.push", repository=name)
    assert stand_in.asked == []


def test_what_the_hub_refuses_is_told(
    workshop: Workshop, stand_in: type[StandIn], monkeypatch: pytest.MonkeyPatch
) -> None:
    import httpx
    from huggingface_hub.errors import HfHubHTTPError

    monkeypatch.setenv("HF_TOKEN", SECRET_TOKEN)
    exported(workshop, OWNER)
    answer = httpx.Response(403, request=httpx.Request("POST", "https://hub.invalid"))
    for fault, words in ((HfHubHTTPError("no", response=answer), "права записи"), (OSError("down"), "нет связи")):
        monkeypatch.setattr(StandIn, "fault", fault)
        act(workshop, workshop.session(OWNER), "export.push", repository="lab/merge")
        error = finished(workshop, OWNER).error
        assert error["code"] == "HUB_PUSH_FAILED" and words in error["sentence"]["ru"]


def test_only_a_space_with_a_login_serves_one(settings: Settings, space: None, monkeypatch: pytest.MonkeyPatch) -> None:
    from ui.studio import build_app

    # The login's own packages come with a Space's Gradio; here it is enough that they are asked for.
    monkeypatch.setattr("gradio.routes.attach_oauth", lambda app: None)
    app = build_app(settings)
    assert app.expects_oauth and hub.way(settings) == "login"
    app.workshop.close()
    monkeypatch.delenv("OAUTH_CLIENT_ID")
    plain = build_app(settings)
    assert not plain.expects_oauth and hub.way(settings) is None
    plain.workshop.close()
