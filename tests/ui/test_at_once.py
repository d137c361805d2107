"""Several things at the same moment: two changes, a change and a job's news, a job and what came instead of it.

Longer than most files: one kind of fault, a test for each place where it was found.
"""

import asyncio
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import pytest

from merger.errors import WhisperMergeError
from merger.recipe import MergeRecipe
from tests.ui.acting import SECONDS, act, finished, heard, held
from tests.ui.conftest import OWNER
from tests.ui.working import Gate, returning
from ui import evaluation as screen
from ui.local_executor import LocalExecutor
from ui.sessions import Session
from ui.settings import Settings
from ui.worker import Job, JobState, Worker
from ui.workshop import Workshop

HEAD_START = 0.3  # seconds that whatever must not overtake has to do so


def direct(alpha: float) -> MergeRecipe:
    return MergeRecipe.build("direct", {"direct_alpha": alpha})


def told_of(session: Session, name: str, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Everything that is published in this slice from now on."""
    told, publish = [], session.publish

    def note(**slices: Any) -> None:
        if name in slices:
            told.append(slices[name])
        publish(**slices)

    monkeypatch.setattr(session, "publish", note)
    return told


def test_of_two_changes_at_once_the_later_one_is_heard(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    session = workshop.session(OWNER)
    heard(workshop, session)
    entered, sources = threading.Event(), workshop.sources

    def slow(*arguments: Any) -> Any:
        if not entered.is_set():
            entered.set()
            threading.Event().wait(HEAD_START)
        return sources(*arguments)

    monkeypatch.setattr(workshop, "sources", slow)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(act, workshop, session, "mixer.set", recipe=direct(0.1).to_json())
        assert entered.wait(SECONDS)
        second = pool.submit(act, workshop, session, "mixer.set", recipe=direct(0.9).to_json())
        first.result(SECONDS), second.result(SECONDS)
    result = heard(workshop, session)
    assert result["digest"] == session.get("recipe")["key"]
    assert result["recipe"]["parameters"] == session.get("recipe")["parameters"] == {"direct_alpha": 0.9}


def test_a_device_that_is_late_does_not_write_over_another(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With two devices a comparison that is replaced may still be listening when the one instead of it is ready."""
    lab = Workshop(settings, uploads=tmp_path, executors=[LocalExecutor("cpu"), LocalExecutor("cpu")])
    try:
        session = lab.session(OWNER)
        heard(lab, session)
        entered, release, hear = threading.Event(), threading.Event(), lab.listener.hear

        def slow(side: str, pair: Any, mixture: Any, *more: Any) -> Any:
            written = hear(side, pair, mixture, *more)
            if mixture.recipe == direct(0.1):
                entered.set()
                assert release.wait(SECONDS)
            return written

        monkeypatch.setattr(lab.listener, "hear", slow)
        act(lab, session, "mixer.set", recipe=direct(0.1).to_json())
        assert entered.wait(SECONDS)
        late = lab.worker.job(OWNER, session.job or "")
        act(lab, session, "mixer.set", recipe=direct(0.9).to_json())
        newer = heard(lab, session)
        release.set()
        assert late is not None and late.wait(SECONDS) and late.state is JobState.CANCELLED
        assert session.get("result") == newer and newer["digest"] == session.get("recipe")["key"]
        assert session.get("job")["state"] == "done"
    finally:
        release.set()
        lab.close()


def test_the_end_of_a_job_is_told_last(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread that asked and the thread that works tell of one job at the same time."""
    session = workshop.session(OWNER)
    heard(workshop, session)
    asking, to_json = threading.current_thread(), workshop.worker.to_json

    def slow(job: Job) -> Any:
        told = to_json(job)
        if threading.current_thread() is asking:
            job.wait(HEAD_START)
        return told

    monkeypatch.setattr(workshop.worker, "to_json", slow)
    act(workshop, session, "compare.run")
    heard(workshop, session)
    assert session.get("job")["state"] == "done"
    act(workshop, session, "map.measure")
    finished(workshop, session, "map")
    assert session.get("map")["job"]["state"] == "done" and session.get("map")["result"]


def test_a_job_that_ends_while_it_is_told_of_is_told_as_over(workshop: Workshop) -> None:
    """The stop of a job is told by the thread that asked for it, while the job's own thread ends it."""
    session, gate, told = workshop.session(OWNER), Gate(), list[str]()
    stopping = threading.Event()

    def publish(job: Job) -> None:
        told.append(str(job.state))
        if stopping.is_set():
            stopping.clear()
            deadline = time.monotonic() + SECONDS
            while job.state is not JobState.CANCELLED and time.monotonic() < deadline:
                time.sleep(0.01)

    job = workshop.worker.submit(OWNER, "endless", gate.work, lane="disk")
    workshop.follow(session, job, publish)
    assert gate.entered.wait(SECONDS)
    with session.lock:  # nothing else is told meanwhile
        stopping.set()
        assert workshop.worker.cancel(OWNER, job.id)
    assert job.wait(SECONDS)
    assert told[-2:] == ["running", "cancelled"]


def test_who_waits_for_a_job_goes_on_when_its_end_was_told() -> None:
    told: list[JobState] = []

    def slow(job: Job) -> None:
        threading.Event().wait(0.1)
        told.append(job.state)

    worker, release = Worker(on_change=slow), threading.Event()
    try:
        job = worker.submit("ann", "merge", returning(1))
        assert job.wait(SECONDS) and told[-1] is JobState.DONE
        blocker = worker.submit("bob", "merge", held(release))
        queued = worker.submit("ann", "merge", returning(1))
        with ThreadPoolExecutor(1) as pool:
            stopping = pool.submit(worker.cancel, "ann", queued.id)
            assert queued.wait(SECONDS) and told[-1] is JobState.CANCELLED
            assert stopping.result(SECONDS)
        release.set()
        assert blocker.wait(SECONDS)
    finally:
        release.set()
        worker.close()


def test_what_was_said_is_typed_while_the_clip_is_heard(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    entered, release, hear = threading.Event(), threading.Event(), workshop.listener.hear

    def slow(*arguments: Any) -> Any:
        entered.set()
        assert release.wait(SECONDS)
        return hear(*arguments)

    monkeypatch.setattr(workshop.listener, "hear", slow)
    session = workshop.session(OWNER)  # whose page begins with a comparison
    assert entered.wait(SECONDS)
    act(workshop, session, "listen.reference", text="мама мыла раму")
    release.set()
    result = heard(workshop, session)
    assert result["reference"] == session.get("clip")["reference"] == "мама мыла раму"
    (kept,) = workshop.store.experiments(OWNER)
    assert kept.reference == "мама мыла раму"
    assert {side: kept.transcripts[side].wer for side in kept.transcripts} == {
        side: result[side]["wer"] for side in ("a", "merged", "b")
    }


def test_what_was_said_stays_with_its_recording(workshop: Workshop) -> None:
    session = workshop.session(OWNER)
    first, second = (clip.id for clip in workshop.clips.samples[:2])
    act(workshop, session, "clips.choose", id=second)
    before = session.get("clip")["reference"]
    act(workshop, session, "listen.reference", clip=first, text="сказано в первой")
    assert session.get("clip")["id"] == second and session.get("clip")["reference"] == before
    act(workshop, session, "clips.choose", id=first)
    assert session.get("clip")["reference"] == "сказано в первой"


def test_news_reach_a_page_while_a_change_takes_long(workshop: Workshop) -> None:
    """The event loop, which is everybody's, waits for no one's lock."""
    session, entered, release = workshop.session(OWNER), threading.Event(), threading.Event()

    def change() -> None:
        with session.lock:
            entered.set()
            release.wait(SECONDS)

    with ThreadPoolExecutor(2) as pool:
        changing = pool.submit(change)
        assert entered.wait(SECONDS)
        asking = pool.submit(asyncio.run, session.wait({}, SECONDS))
        wait([asking], SECONDS / 2)
        in_time = asking.done()
        release.set()
        changing.result(SECONDS)
        assert in_time and "recipe" in asking.result(SECONDS)


# ---- models that are downloaded --------------------------------------------------------------------------------------


@pytest.fixture
def arriving(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[threading.Event, threading.Event]]:
    """(is asked for, may arrive): "lab/far" is a model of the Hub that takes its time; "lab/none" never comes."""
    entered, release, opened = threading.Event(), threading.Event(), workshop.models.open

    def far(ref: str) -> Any:
        if ref == "lab/none":
            raise WhisperMergeError()
        if ref == "lab/far":
            entered.set()
            assert release.wait(SECONDS)
            return opened("base")
        return opened(ref)

    monkeypatch.setattr(workshop.models, "is_remote", lambda ref: ref.startswith("lab/"))
    monkeypatch.setattr(workshop.models, "open", far)
    yield entered, release
    release.set()


def test_a_download_that_is_stopped_leaves_what_was_there(
    workshop: Workshop, arriving: tuple[threading.Event, threading.Event]
) -> None:
    entered, release = arriving
    session = workshop.session(OWNER)
    act(workshop, session, "models.choose", role="b", ref="lab/far")
    assert entered.wait(SECONDS) and session.get("models")["verdict"]["state"] == "pending"
    act(workshop, session, "models.options")
    assert session.get("models")["verdict"]["state"] == "pending", "it is still on its way"
    job = workshop.worker.job(OWNER, session.job or "")
    assert job is not None and workshop.worker.cancel(OWNER, job.id)
    release.set()
    assert job.wait(SECONDS) and job.state is JobState.CANCELLED
    assert session.get("models")["verdict"]["state"] == "ok" and session.models["b"] == "b"


def test_a_download_that_fails_says_so_beside_the_models_that_are_chosen_now(
    workshop: Workshop, arriving: tuple[threading.Event, threading.Event]
) -> None:
    session, release = workshop.session(OWNER), threading.Event()
    busy = workshop.worker.submit("other", "other", held(release), lane="disk")
    act(workshop, session, "models.choose", role="b", ref="lab/none")
    act(workshop, session, "models.swap")
    release.set()
    assert busy.wait(SECONDS)
    (job,) = (job for job in workshop.worker.jobs(OWNER) if job.kind == "fetch")
    assert job.wait(SECONDS) and job.state is JobState.FAILED
    told = session.get("models")
    assert told["failed"]["sentence"]["ru"] and told["failed"]["remedy"]["ru"]
    assert told["verdict"]["state"] == "ok", "the models that stay can still be mixed"
    assert told["roles"]["a"]["ref"] == session.models["a"] == "b"


# ---- screens of their own --------------------------------------------------------------------------------------------


def test_a_late_proof_does_not_bring_an_earlier_export_back(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    session, release = workshop.session(OWNER), threading.Event()
    heard(workshop, session)
    busy = workshop.worker.submit("other", "other", held(release))
    act(workshop, session, "export.start", name="one")
    finished(workshop, session, "export")
    writing = workshop.worker.submit("other", "other", held(disk := threading.Event()), lane="disk")
    act(workshop, session, "export.start", name="two")
    told = told_of(session, "export", monkeypatch)
    release.set()
    finished(workshop, session, "proof")
    disk.set()
    assert busy.wait(SECONDS) and writing.wait(SECONDS)
    finished(workshop, session, "export")
    assert {one["folder"] for one in told} == {session.notes["export"]} == {"two"}


def test_a_sweep_that_is_replaced_is_not_told_any_more(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    session = workshop.session(OWNER)
    heard(workshop, session)
    entered, release, hear = threading.Event(), threading.Event(), workshop.listener.hear

    def slow(*arguments: Any) -> Any:
        entered.set()
        assert release.wait(SECONDS)
        return hear(*arguments)

    monkeypatch.setattr(workshop.listener, "hear", slow)
    clips = [workshop.clips.samples[0].id]
    act(workshop, session, "sweep.start", kind="alpha", clips=clips)
    assert entered.wait(SECONDS)
    act(workshop, session, "sweep.start", kind="t", clips=clips)
    told = told_of(session, "sweep", monkeypatch)
    release.set()
    finished(workshop, session, "sweep")
    assert {one["kind"] for one in told} == {"t"}


def test_an_evaluation_that_is_stopped_between_two_of_its_jobs_is_stopped(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its first job begins the second while somebody stops it."""
    session = workshop.session(OWNER)
    heard(workshop, session)
    device, busy, read, go_on = threading.Event(), threading.Event(), screen.read_set, threading.Event()

    def reading(*arguments: Any) -> Any:
        manifest = read(*arguments)
        if not busy.is_set():
            busy.set()
            assert go_on.wait(SECONDS)
        return manifest

    monkeypatch.setattr(screen, "read_set", reading)
    blocker = workshop.worker.submit("other", "other", held(device))
    payload = {"source": "samples", "systems": [], "lang": "ru"}
    act(workshop, session, "evaluation.start", **payload)
    assert busy.wait(SECONDS)
    (first,) = screen._unfinished(workshop, session)
    cancel = workshop.worker.cancel

    def late(owner: str, job_id: str) -> bool:
        """Arrives when the first job has just begun the second."""
        if job_id == first.id:
            go_on.set()
            assert first.wait(SECONDS)
        return cancel(owner, job_id)

    monkeypatch.setattr(workshop.worker, "cancel", late)
    act(workshop, session, "evaluation.start", **payload)
    device.set()
    assert blocker.wait(SECONDS)
    jobs = [job for job in workshop.worker.jobs(OWNER) if job.kind == "evaluation"]
    assert [job.state for job in jobs[:2]] == [JobState.DONE, JobState.CANCELLED], "read, and not heard"
