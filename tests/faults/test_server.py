"""The server itself is killed, ended, started again: what was acknowledged is there, nothing is half done."""

import json
import os
import signal
import sqlite3
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from gradio_client import handle_file

from merger.verify import verify_folder
from tests.faults.conftest import LONG, Reached, how_many, in_time
from tests.faults.server import ROOT, Server
from tests.ui.conftest import write_tone

SECONDS = 120.0
RECIPE: dict[str, Any] = {"method": "ties", "parameters": {"ties_density": 0.5}}


@pytest.fixture
def server(demo_folder: Path, tmp_path: Path) -> Iterator[Server]:
    """The tiny pair in short runs; the real demo pair, whose exports take long enough to be killed, in full ones."""
    made = Server(tmp_path / "data", ROOT / "demo" if LONG else demo_folder, LOG_FORMAT="json")
    yield made
    made.close()


in_full_runs = pytest.mark.skipif(not LONG, reason="starts servers; tests/ui/test_durable.py has the short version")


def until(true: Callable[[], Any], seconds: float = SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def states(server: Server) -> dict[str, str]:
    with sqlite3.connect(server.data / "history.sqlite", timeout=30) as db:
        return dict(db.execute("SELECT id, state FROM jobs").fetchall())


def orphans(server: Server) -> list[str]:
    return [folder.name for folder in server.exports.iterdir() if folder.name.startswith(".")]


def whole(server: Server) -> list[str]:
    """Names of the exports that can be seen, each verified."""
    found = sorted(folder.name for folder in server.exports.iterdir() if not folder.name.startswith("."))
    for name in found:
        verify_folder(server.exports / name)
    return found


def exports_queued(server: Server, count: int) -> list[str]:
    """Ids of `count` exports, four per client: nobody may have more."""
    jobs = []
    for number in range(count):
        if number % 4 == 0:
            client = server.client()
        told = client.predict(RECIPE, f"out {number}", api_name="/export")
        jobs.append(told["job"])
    return jobs


def test_sigterm_with_one_export_running_and_ten_queued(server: Server, reached: Reached) -> None:
    server.start()
    # One client each: a client cancels what it is given at the moment at which its stream of earlier results ends.
    clients = [server.client() for _ in range(11)]
    jobs = [client.submit(RECIPE, f"out {number}", api_name="/export") for number, client in enumerate(clients)]
    ids = [job.result(SECONDS)["job"] for job in jobs]
    seconds, status = server.terminate()
    assert status == 0 and in_time(seconds, 30)
    left = states(server)
    assert set(left) == set(ids) and set(left.values()) <= {"queued", "done"}
    server.start()
    until(lambda: set(states(server).values()) == {"done"})
    assert whole(server) == sorted(f"out {number}" for number in range(11)) and orphans(server) == []
    told = server.client().predict(ids[-1], api_name="/status")
    assert told["state"] == "done" and told["result"]["folder"] == "out 10"
    done = sum(state == "done" for state in left.values())
    reached(
        "SIGTERM with exports running and queued", "clean exit ≤ 30 s, queued jobs survive, none stuck as running",
        f"exit 0 after {seconds:.1f} s; of 11 exports {done} done before, {11 - done} by the next start",
    )  # fmt: skip


def test_kill_in_mid_export(server: Server, tmp_path: Path, reached: Reached) -> None:
    """Killed as soon as the half-made folder is seen, then at later and later moments."""
    kills, rows = how_many(10, 1), 0
    clip = write_tone(tmp_path / "clip.wav")
    swept = 0
    server.start()
    for number in range(kills):
        client = server.client()
        client.predict(handle_file(clip), RECIPE, None, api_name="/compare")
        with sqlite3.connect(server.data / "history.sqlite", timeout=30) as db:
            db.execute(
                "INSERT INTO votes (id, owner, created, clip, left_name, right_name, choice)"
                " VALUES (?, 'ann', 0, 'c', 'A', 'B', 'left')", (f"vote {number}",),
            )  # fmt: skip
        rows += 1
        job = client.predict(RECIPE, f"out {number}", api_name="/export")["job"]
        deadline = time.monotonic() + 10
        while not orphans(server) and not (server.exports / f"out {number}").exists() and time.monotonic() < deadline:
            pass
        time.sleep(0.03 * number)
        server.kill()
        swept += len(orphans(server))
        whole(server)  # nothing half is visible
        server.start()
        until(lambda job=job: states(server)[job] == "done")
        assert orphans(server) == [] and f"out {number}" in whole(server)
        with sqlite3.connect(server.data / "history.sqlite") as db:
            assert db.execute("SELECT count(*) FROM votes").fetchone() == (rows,)
            assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    reached(
        f"kill -9 in an export, {kills} times", "0 half models, 0 lost rows, orphans gone at the next start",
        f"0 half models, {rows} of {rows} rows, {swept} orphans swept, {kills} exports done by the next start",
    )  # fmt: skip


@in_full_runs
def test_a_job_that_kills_the_server_twice_is_given_up(server: Server, reached: Reached) -> None:
    server.start()
    job = server.client().predict(RECIPE, "out", api_name="/export")["job"]
    until(lambda: states(server)[job] == "done")
    server.kill()
    with sqlite3.connect(server.data / "history.sqlite") as db:
        db.execute("UPDATE jobs SET state = 'running', attempts = 2 WHERE id = ?", (job,))
    server.start()
    told = server.client().predict(job, api_name="/status")
    assert told["state"] == "failed" and told["error"]["code"] == "JOB_LOST"
    reached("a job that was running at two deaths of the server", "not begun a third time", "JOB_LOST, told by its id")


def test_a_device_process_that_is_killed_under_the_server_is_replaced(server: Server, reached: Reached) -> None:
    server.start()
    client = server.client()
    client.predict(RECIPE, api_name="/merge")
    children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children")  # type: ignore[union-attr]
    (device,) = [
        int(pid) for pid in children.read_text().split()
        if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]  # fmt: skip
    started = time.monotonic()
    os.kill(device, signal.SIGKILL)
    until(lambda: not server.healthy())
    noticed = time.monotonic() - started
    assert in_time(noticed, 5)
    until(server.healthy)
    back = time.monotonic() - started
    assert client.predict(RECIPE, api_name="/merge")["performed"] == "ties"
    reached(
        "device process killed under the running app", "noticed ≤ 5 s, restarted",
        f"/healthz says so after {noticed:.1f} s, well again after {back:.1f} s",
    )  # fmt: skip


@in_full_runs
def test_two_servers_do_not_share_a_data_folder(server: Server) -> None:
    server.start()
    second = Server(server.data, ROOT / "demo")
    with pytest.raises(AssertionError, match="DATA_IN_USE"):
        second.start()
    second.close()


@in_full_runs
def test_a_damaged_history_is_set_aside_and_said(server: Server, reached: Reached) -> None:
    server.data.mkdir(parents=True)
    (server.data / "history.sqlite").write_bytes(b"SQLite format 3\0" + b"\xff" * 8000)
    server.start()
    with urllib.request.urlopen(server.address) as page:
        text = page.read().decode()
    config = json.loads(text.split("window.gradio_config = ", 1)[1].split(";</script>", 1)[0])
    assert '"quarantined": true' in json.dumps(config) or '\\"quarantined\\": true' in json.dumps(config)
    assert len(list(server.data.glob("history.sqlite.corrupt-*"))) == 1
    reached("history file corrupted", "set aside, banner", "renamed to history.sqlite.corrupt-…, the page is told")
