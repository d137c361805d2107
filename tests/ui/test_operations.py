"""What an operator sees: log lines with ids and without texts, health by a real kernel, numbers for Prometheus."""

import io
import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import httpx
import pytest
from starlette.requests import Request

from merger.bilingual import Text
from tests.ui.acting import act, awaited, heard
from tests.ui.conftest import OWNER
from tests.ui.server import TIMEOUT, client_of, serving
from tests.ui.working import SECONDS, returning
from ui import logs
from ui.executor import DeviceLost, DeviceStarting
from ui.health import Checkup
from ui.settings import Settings, from_environment
from ui.worker import FINISHED
from ui.workshop import Workshop


@pytest.fixture(scope="module")
def running(demo_folder: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Any]]:
    root = tmp_path_factory.mktemp("operations")
    settings = Settings(
        data=root / "data", export_root=root / "exports", demo_models=demo_folder / "models",
        samples=demo_folder / "samples", device="cpu", hub=False,
    )  # fmt: skip
    with serving(settings) as served:
        yield served


def numbers(address: str) -> dict[str, float]:
    lines = httpx.get(f"{address}/metrics", timeout=TIMEOUT).text.splitlines()
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))}


def test_one_json_object_per_line_with_the_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    monkeypatch.setattr(root, "level", root.level)
    written = io.StringIO()
    monkeypatch.setattr("sys.stderr", written)
    logs.configure("json")
    logging.getLogger("x").info("job %s", "ended", extra={"job": "j1", "seconds": 0.5, "unknown": "left out"})
    try:
        raise KeyError("absent")
    except KeyError:
        logging.getLogger("x").exception("bad\nnews")
    first, second = (json.loads(line) for line in written.getvalue().splitlines())
    assert first.pop("time").endswith("Z")
    assert first == {"level": "INFO", "logger": "x", "message": "job ended", "job": "j1", "seconds": 0.5}
    assert second["message"] == "bad\nnews" and "KeyError: 'absent'" in second["trace"]


def test_lines_for_people_have_the_ids_too() -> None:
    record = logging.LogRecord("x", logging.INFO, "", 0, "job ended", (), None)
    record.job = "j1"
    assert logs.Lines("%(message)s").format(record) == "job ended job=j1"


def test_the_log_says_which_job_and_never_what_was_said(
    workshop: Workshop, caplog: pytest.LogCaptureFixture
) -> None:
    session = workshop.session(OWNER)
    with caplog.at_level(logging.INFO):
        act(workshop, session, "listen.reference", text="секретные слова")
        act(workshop, session, "mixer.set", recipe={"method": "direct", "parameters": {"direct_alpha": 0.35}})
        result = heard(workshop, session)
    ended = [record for record in caplog.records if record.getMessage() == "job ended"]
    assert {record.owner for record in ended} == {OWNER} and any(record.job == session.job for record in ended)  # type: ignore[attr-defined]
    said = " ".join(str(vars(record)) for record in caplog.records)
    assert "секретные" not in said
    for side in ("a", "merged", "b"):
        assert not result[side]["text"].strip() or result[side]["text"] not in said


def test_health_is_a_real_kernel_under_one_name_and_the_old_one(running: tuple[str, Any]) -> None:
    for path in ("/healthz", "/studio/health"):
        answer = httpx.get(running[0] + path, timeout=TIMEOUT)
        told = answer.json()
        assert answer.status_code == 200 and told["status"] == "ok" and told["worker"] and told["history"]
        (device,) = told["devices"]
        assert device["ok"] and device["device"] == "cpu" and 0 < device["kernel_seconds"] < 60


def test_a_device_that_fails_is_said_with_503(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    (device,) = workshop.worker.executors

    def lost() -> Any:
        raise DeviceLost(device="cpu", reason=Text("ядро", "kernel"))

    assert Checkup(workshop).look()["status"] == "ok"
    monkeypatch.setattr(device, "check", lost)
    told = Checkup(workshop).look()
    assert told["status"] == "failing" and told["devices"][0]["code"] == "DEVICE_LOST"


def test_a_device_that_is_being_started_is_no_failure(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    (device,) = workshop.worker.executors

    def starting() -> Any:
        raise DeviceStarting(device="cpu")

    monkeypatch.setattr(device, "check", starting)
    told = Checkup(workshop).look()
    assert told["status"] == "starting" and told["devices"][0]["code"] == "DEVICE_STARTING"
    answer = awaited(Checkup(workshop).answer(Request({"type": "http", "headers": []})))
    assert answer.status_code == 503
    monkeypatch.setattr(workshop.worker, "alive", lambda: False)
    assert Checkup(workshop).look()["status"] == "failing"


def test_a_history_that_cannot_be_read_is_said(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workshop.store, "path", workshop.settings.data / "nowhere" / "h.sqlite")
    told = Checkup(workshop).look()
    assert (told["status"], told["history"], told["worker"]) == ("failing", False, True)


def test_prometheus_counts_what_was_done(running: tuple[str, Any]) -> None:
    address, workshop = running
    name = 'whisper_merge_jobs_finished_total{code="",kind="merge",state="done"}'
    before = numbers(address).get(name, 0.0)
    client = client_of(address)
    for _ in range(2):
        client.predict({"method": "direct"}, api_name="/merge")
    told = numbers(address)
    assert told[name] == before + 2
    assert told['whisper_merge_job_seconds_count{kind="merge"}'] == before + 2
    assert told['whisper_merge_jobs{lane="live",state="running"}'] == 0
    assert told["whisper_merge_up"] == 1 and told['whisper_merge_device_up{device="cpu"}'] == 1
    assert told["whisper_merge_server_ram_bytes"] > 1e7 and told['whisper_merge_device_ram_bytes{device="cpu"}'] > 1e7
    assert all(job.state in FINISHED for job in workshop.worker.jobs())
    assert "owner" not in httpx.get(f"{address}/metrics", timeout=TIMEOUT).text


def test_any_kind_of_job_is_counted_under_its_own_name(workshop: Workshop) -> None:
    job = workshop.worker.submit(OWNER, "new-kind", returning(1))
    assert job.wait(SECONDS)
    counted = workshop.metrics._registry.get_sample_value(
        "whisper_merge_jobs_finished_total", {"kind": "new-kind", "state": "done", "code": ""}
    )
    assert counted == 1


def test_a_space_keeps_its_numbers_to_itself_unless_told_otherwise(settings: Settings) -> None:
    assert Settings.of("space").metrics is False and Settings.of("lab").metrics is True
    assert from_environment({"SPACE_ID": "x/y", "WHISPER_MERGE_METRICS": "1"}).metrics is True
    with serving(replace(settings, metrics=False)) as (address, _):
        assert httpx.get(f"{address}/metrics", timeout=TIMEOUT).status_code == 404
        assert httpx.get(f"{address}/healthz", timeout=TIMEOUT).status_code == 200
