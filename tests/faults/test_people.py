"""People who go away in mid job, and people who ask the same again and again."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from gradio_client import handle_file

from tests.faults.conftest import LONG, Reached, how_many, in_time
from tests.ui.conftest import write_tone
from tests.ui.server import client_of, serving
from ui.memory import resident_bytes
from ui.settings import Settings
from ui.worker import FINISHED, JobState

SECONDS = 60.0
RECIPE: dict[str, Any] = {"method": "ties", "parameters": {"ties_density": 0.5}}


@pytest.fixture
def running(settings: Settings) -> Iterator[tuple[str, Any]]:
    # One person stands for many here, so what one may send is not limited.
    free = replace(settings, uploads_per_minute=100_000, requests_per_minute=1_000_000, request_burst=100_000)
    with serving(free) as served:
        yield served


def until(true: Callable[[], Any], seconds: float = SECONDS) -> float:
    started = time.monotonic()
    while not true():
        assert time.monotonic() - started < seconds
        time.sleep(0.005)
    return time.monotonic() - started


def test_people_who_go_away_in_mid_job(
    running: tuple[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reached: Reached
) -> None:
    """Half of them wait for an answer and go: their work stops. Half have begun an export: it is fetched by its id."""
    from ui.local_executor import LocalExecutor

    address, workshop = running
    hear = LocalExecutor.hear

    def slow(self: LocalExecutor, *arguments: Any, **named: Any) -> Any:
        cancelled = next(one for one in (*arguments, *named.values()) if callable(one))
        for _ in range(2000):
            if cancelled():
                break
            time.sleep(0.01)
        return hear(self, *arguments, **named)

    clip, count, slowest, fetched = write_tone(tmp_path / "clip.wav"), how_many(100, 6), 0.0, 0
    for number in range(count):
        client = client_of(address)
        if number % 2:
            job = client.predict(RECIPE, f"out {number}", api_name="/export")["job"]
            del client
            other = client_of(address)
            until(lambda other=other, job=job: other.predict(job, api_name="/status")["state"] == "done")
            assert other.predict(job, api_name="/status")["result"]["folder"] == f"out {number}"
            fetched += 1
            continue
        with monkeypatch.context() as patch:
            patch.setattr(LocalExecutor, "hear", slow)
            recipe = {"method": "direct", "parameters": {"direct_alpha": round(number / 1000, 3)}}
            waiting = client.submit(handle_file(str(clip)), recipe, None, api_name="/compare")
            seen: list[Any] = []

            def running_job(seen: list[Any] = seen) -> bool:
                seen[:] = [one for one in workshop.worker.jobs() if one.state is JobState.RUNNING]
                return bool(seen)

            until(running_job)
            started = time.monotonic()
            waiting.cancel()
            client.close()
            until(lambda seen=seen: seen[0].state in FINISHED)
            slowest = max(slowest, time.monotonic() - started)
            assert seen[0].state is JobState.CANCELLED
    assert workshop.worker.alive()
    assert [one for one in workshop.worker.jobs() if one.state not in FINISHED] == []
    assert in_time(slowest, 2)
    reached(
        f"{count} disconnects in mid job", "result can be fetched by id; cancel stops work ≤ 2 s",
        f"{fetched} of {fetched} results fetched by another client; work stopped after {slowest:.2f} s at most",
    )  # fmt: skip


def test_identical_requests_take_no_memory(running: tuple[str, Any], tmp_path: Path, reached: Reached) -> None:
    address, _ = running
    count, warm = how_many(1000, 40), how_many(300, 20)
    client, clip = client_of(address), str(write_tone(tmp_path / "clip.wav"))
    told = [client.predict(handle_file(clip), RECIPE, None, api_name="/compare")["merged"]["text"] for _ in range(warm)]
    before = resident_bytes()
    for _ in range(count):
        told.append(client.predict(handle_file(clip), RECIPE, None, api_name="/compare")["merged"]["text"])
    grown = resident_bytes() / before - 1
    assert len(set(told)) == 1
    if LONG:  # in the first minutes the allocator still finds its size
        assert grown <= 0.03
    figures = f"{100 * grown:+.1f} % of {before / 1e6:.0f} MB"
    reached(f"{count} identical requests after {warm}", "memory + ≤ 3 % after warm-up", figures)
