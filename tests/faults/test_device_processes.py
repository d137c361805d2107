"""What ends the process of a device costs one request: it is noticed, replaced, and nobody loops over it."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from merger.checkpoint import open_checkpoint
from merger.errors import Cancelled, OutOfMemory
from tests.conftest import TinyPair
from tests.faults.conftest import Reached, in_time
from tests.faults.stand_in import DIES, FAILS, FINE, HANGS, POISONS, STARVES, WAITS, recipe
from ui.deaths import Deaths, Patience
from ui.executor import DeviceLost, DeviceStarting, Pair, here
from ui.process_executor import DeviceFailure, ProcessExecutor
from ui.worker import Job, JobState, Worker

SECONDS = 60.0
PATIENCE = Patience(start=60.0, stop=0.5, check=2.0, refuse=600.0, restart=1.0)
ROOT = Path(__file__).resolve().parents[2]


def never() -> bool:
    return False


@pytest.fixture(scope="module")
def pair(tiny_pair: TinyPair) -> Pair:
    return Pair({"a": open_checkpoint(tiny_pair.a), "b": open_checkpoint(tiny_pair.b)})


@pytest.fixture
def make() -> Iterator[Callable[..., ProcessExecutor]]:
    made: list[ProcessExecutor] = []

    def start(device: str = "cuda:0", **changes: Any) -> ProcessExecutor:
        options = {"maker": "tests.faults.stand_in:Device", "patience": PATIENCE, **changes}
        made.append(ProcessExecutor(device, **options))
        return made[-1]

    yield start
    for executor in made:
        executor.close()


def until(true: Callable[[], bool], seconds: float = SECONDS) -> float:
    """Seconds until it was true."""
    started = time.monotonic()
    while not true():
        assert time.monotonic() - started < seconds
        time.sleep(0.005)
    return time.monotonic() - started


def test_an_idle_process_that_is_killed_is_noticed_and_replaced(
    make: Callable[..., ProcessExecutor], pair: Pair, reached: Reached
) -> None:
    device = make()
    device.apply(pair, recipe(FINE), never)
    pid = device.check() and device._process.pid
    os.kill(pid, signal.SIGKILL)  # type: ignore[arg-type]
    noticed = until(lambda: device.lost == 1)
    assert in_time(noticed, 5)
    assert str(pid) not in device.apply(pair, recipe(FINE), never).digest
    assert device.status()["starts"] == 2
    reached("device process killed while idle", "noticed ≤ 5 s, replaced", f"noticed after {noticed:.2f} s")


def test_a_job_whose_process_dies_fails_with_a_reason_and_the_next_one_runs(
    make: Callable[..., ProcessExecutor], pair: Pair, reached: Reached
) -> None:
    device = make()
    worker = Worker(executors=[device])

    def work(order: float) -> Any:
        def steps(job: Job) -> Generator[None, None, str]:
            yield
            return here().apply(pair, recipe(order), job.cancelled).digest

        return steps

    try:
        assert worker.submit("ann", "merge", work(FINE)).wait(SECONDS)
        started = time.monotonic()
        job = worker.submit("ann", "merge", work(DIES))
        assert job.wait(SECONDS)
        took = time.monotonic() - started
        assert job.state is JobState.FAILED and job.error is not None and job.error["code"] == "DEVICE_LOST"
        assert "signal 6" in job.error["sentence"]["en"] and in_time(took, 5)
        after = worker.submit("bob", "merge", work(FINE))
        assert after.wait(SECONDS) and after.state is JobState.DONE
        again, third = worker.submit("ann", "merge", work(DIES)), worker.submit("ann", "merge", work(DIES))
        assert again.wait(SECONDS) and third.wait(SECONDS)
        assert third.error is not None and "twice" in third.error["sentence"]["en"]
        assert device.lost <= 2 and device._deaths.count(("apply", pair.key, recipe(DIES).digest, None)) == 2
    finally:
        worker.close()
    reached(
        "device process dies in a job", "job failed with a reason ≤ 5 s, no poison loop",
        f"DEVICE_LOST after {took:.2f} s; the same request refused after 2 deaths",
    )  # fmt: skip


def test_a_poisoned_context_is_told_from_a_requests_own_failure(
    make: Callable[..., ProcessExecutor], pair: Pair, reached: Reached
) -> None:
    device = make()
    first = device.apply(pair, recipe(FINE), never).digest
    with pytest.raises(DeviceFailure, match="of this request alone"):
        device.apply(pair, recipe(FAILS), never)
    with pytest.raises(OutOfMemory):
        device.apply(pair, recipe(STARVES), never)
    assert device.apply(pair, recipe(FINE), never).digest == first
    started = time.monotonic()
    with pytest.raises(DeviceLost):
        device.apply(pair, recipe(POISONS), never)
    assert device.apply(pair, recipe(FINE), never).digest != first
    took = time.monotonic() - started
    reached("poisoned device context", "process replaced", f"the next request is served {took:.1f} s later")


def test_a_stop_reaches_the_process_and_a_deaf_one_is_ended(
    make: Callable[..., ProcessExecutor], pair: Pair, reached: Reached
) -> None:
    device = make()
    device.apply(pair, recipe(FINE), never)
    took = {}
    for order in (WAITS, HANGS):
        stop = threading.Timer(0.2, lambda: None)
        stop.start()
        started = time.monotonic()
        with pytest.raises(Cancelled):
            device.apply(pair, recipe(order), lambda stop=stop: not stop.is_alive())
        took[order] = time.monotonic() - started - 0.2
    assert in_time(took[WAITS], 2) and in_time(took[HANGS], PATIENCE.stop + 2)
    assert device.apply(pair, recipe(FINE), never)
    reached("stop of a running request", "≤ 2 s", f"{took[WAITS] * 1000:.0f} ms; a deaf one is ended with its process")


def test_the_kernel_is_checked_while_a_request_runs(make: Callable[..., ProcessExecutor], pair: Pair) -> None:
    device, stop = make(), threading.Event()
    device.apply(pair, recipe(FINE), never)

    def waiting() -> None:
        with pytest.raises(Cancelled):
            device.apply(pair, recipe(WAITS), stop.is_set)

    thread = threading.Thread(target=waiting)
    thread.start()
    until(lambda: device.status()["state"] == "busy")
    assert device.check().seconds == 0.001
    stop.set()
    thread.join(SECONDS)
    assert device.status()["state"] == "idle"


def test_two_devices_serve_two_people_at_once_and_each_stays_at_home(
    make: Callable[..., ProcessExecutor], pair: Pair, monkeypatch: pytest.MonkeyPatch, reached: Reached
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7")
    deaths = Deaths(600.0)
    worker = Worker(executors=[make("cuda:0", deaths=deaths), make("cuda:1", deaths=deaths)])
    together = threading.Barrier(2)

    def meeting(job: Job) -> Generator[None, None, str]:
        together.wait(SECONDS)  # passes only if both run at the same moment
        yield
        return here().apply(pair, recipe(FINE), job.cancelled).digest

    def plain(job: Job) -> Generator[None, None, str]:
        yield
        return here().apply(pair, recipe(FINE), job.cancelled).digest

    try:
        jobs = [worker.submit(owner, "merge", meeting) for owner in ("ann", "bob")]
        assert all(job.wait(SECONDS) for job in jobs)
        homes = {job.owner: job.result for job in jobs}
        assert {home.split()[1] for home in homes.values()} == {"cuda:0", "cuda:1"}
        assert {home.split()[2] for home in homes.values()} == {"5,7"}
        for owner in ("bob", "ann", "bob"):
            job = worker.submit(owner, "merge", plain)
            assert job.wait(SECONDS) and job.result == homes[owner]
    finally:
        worker.close()
    reached("several devices", "requests spread", "two people at once on two devices, each kept on their own")


def test_a_device_that_is_being_started_says_so_also_to_somebody_who_waits_for_it(
    make: Callable[..., ProcessExecutor], pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STAND_IN", str(tmp_path))
    device, applied = make("late", maker="tests.faults.stand_in:Late"), list[Any]()
    with pytest.raises(DeviceStarting):
        device.check()
    waiting = threading.Thread(target=lambda: applied.append(device.apply(pair, recipe(FINE), never)))
    waiting.start()
    until(lambda: device._since is not None)
    with pytest.raises(DeviceStarting):
        device.check()
    assert device.status()["state"] == "starting"
    (tmp_path / "late").touch()
    waiting.join(SECONDS)
    assert len(applied) == 1 and device.check().seconds == 0.001 and device.status()["state"] == "idle"


def test_a_device_that_never_starts_is_said_to_be_so_and_is_not_tried_in_a_loop(
    make: Callable[..., ProcessExecutor], pair: Pair
) -> None:
    device = make(maker="tests.faults.stand_in:Stillborn")
    for _ in range(3):  # whoever asks is not blamed for it
        with pytest.raises(DeviceLost) as told:
            device.apply(pair, recipe(FINE), never)
        assert "twice" not in told.value.sentence("en")
    with pytest.raises(DeviceLost):
        device.check()
    assert device.status()["starts"] <= 8


def test_no_process_outlives_the_server(reached: Reached) -> None:
    script = (
        "import sys, time\n"
        "from ui.process_executor import ProcessExecutor\n"
        "if __name__ == '__main__':\n"
        "    device = ProcessExecutor('cuda:0', maker='tests.faults.stand_in:Device')\n"
        "    while not device._ready: time.sleep(0.01)\n"
        "    print(device._process.pid, flush=True)\n"
        "    time.sleep(600)\n"
    )
    path = ROOT / "tests" / "faults"
    server = subprocess.Popen(
        [sys.executable, "-c", script], cwd=path.parents[1], stdout=subprocess.PIPE, text=True
    )
    assert server.stdout is not None
    child = int(server.stdout.readline())
    server.kill()
    server.wait()
    took = until(lambda: not Path(f"/proc/{child}").exists() or "Z" in Path(f"/proc/{child}/stat").read_text())
    reached("server killed with -9", "its device processes go with it", f"gone after {took:.2f} s")
