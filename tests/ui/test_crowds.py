"""Many at once: who waits for the worker takes neither threads nor calls away from anybody else."""

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from evaluation.audio import AudioClip
from tests.ui.acting import awaited
from tests.ui.conftest import write_tone
from tests.ui.server import serving
from tests.ui.working import Gate, worker
from ui import decoding, endpoints
from ui.settings import Settings
from ui.worker import Job, JobState, Worker
from ui.workshop import Workshop

__all__ = ["worker"]

CROWD = 48  # more than the calls that Gradio has open at once unless it is told otherwise
SECONDS = 60.0


class NoThreads(ThreadPoolExecutor):
    """A loop's threads that are all taken."""

    def submit(self, *arguments: Any, **named: Any) -> Any:
        raise AssertionError("a thread was asked for")


def until(true: Callable[[], Any]) -> None:
    deadline = time.monotonic() + SECONDS
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_crowd_of_scripts_that_wait_keeps_nobody_from_asking(settings: Settings) -> None:
    many = replace(settings, jobs_waiting_per_person=CROWD, request_burst=1000, requests_per_minute=100_000)
    gate, merges = Gate(), list[Job]()

    def all_wait() -> bool:
        merges[:] = [job for job in workshop.worker.jobs() if job.kind == "merge"]
        return len(merges) == CROWD

    with serving(many) as (address, workshop), httpx.Client(base_url=f"{address}/gradio_api/call") as script:  # type: ignore[assignment]
        workshop.worker.submit("somebody", "gate", gate.work)
        try:
            for _ in range(CROWD):
                script.post("/merge", json={"data": [{"method": "direct"}, None, None, None]}).raise_for_status()
            until(all_wait)
            asked = script.post("/status", json={"data": [None]}).json()["event_id"]
            told = script.get(f"/status/{asked}", timeout=SECONDS).text
            assert f'"queued": {CROWD}' in told
        finally:
            gate.open.set()
        until(lambda: all(job.state is JobState.DONE for job in merges))


def test_whoever_waits_for_a_job_holds_no_thread(worker: Worker) -> None:
    gate = Gate()
    job = worker.submit("somebody", "gate", gate.work)

    async def wait() -> Any:
        asyncio.get_running_loop().set_default_executor(NoThreads())
        told = asyncio.create_task(endpoints._finished(job, None))  # type: ignore[arg-type]
        await asyncio.sleep(0.05)
        assert not told.done()
        gate.open.set()
        again = endpoints._finished(job, None)  # type: ignore[arg-type]
        return await asyncio.wait_for(told, SECONDS), await asyncio.wait_for(again, SECONDS)

    assert awaited(wait()) == ("through", "through")


def test_no_more_decoders_at_once_than_cores(
    workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoding.os, "cpu_count", lambda: 2)
    at_once, most, lock, two = 0, 0, threading.Lock(), threading.Barrier(2)
    path = write_tone(tmp_path / "uploads" / "clip.wav")

    def slow(given: Path, *limits: Any) -> AudioClip:
        nonlocal at_once, most
        with lock:
            at_once += 1
            most = max(most, at_once)
        two.wait(SECONDS)
        time.sleep(0.05)  # a third would come in now
        with lock:
            at_once -= 1
        return AudioClip(None, 1.0, "0" * 64, given.name)  # type: ignore[arg-type]

    monkeypatch.setattr(decoding, "load_clip_apart", slow)
    decoders = decoding.Decoders(workshop.settings)
    pages = [threading.Thread(target=decoders.decode, args=(path, "clip.wav")) for _ in range(4)]

    async def scripts() -> None:
        asyncio.get_running_loop().set_default_executor(NoThreads())
        await asyncio.gather(*(decoders.awaited(path, "clip.wav") for _ in range(4)))

    for page in pages:
        page.start()
    awaited(scripts())
    for page in pages:
        page.join()
    assert most == 2
