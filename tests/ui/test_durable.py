"""Exports outlive the server: written down when queued, taken up by the next start, given up after two deaths."""

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from merger.errors import DiskFull
from merger.recipe import MergeRecipe
from tests.ui.acting import SECONDS, held
from ui import export, journal
from ui.journal import DataInUse, OneServer, take_up
from ui.local_executor import LocalExecutor
from ui.settings import Settings
from ui.worker import JobState
from ui.workshop import Workshop

RECIPE = MergeRecipe.build("direct", {"direct_alpha": 0.25})
MODELS = {"a": "a", "b": "b", "base": None}


def opened(settings: Settings, uploads: Path) -> Workshop:
    return Workshop(settings, uploads=uploads, executors=[LocalExecutor("cpu")])


def states(workshop: Workshop) -> list[tuple[str, str]]:
    return [(job.kind, job.state) for job in workshop.store.jobs("ann")]


def test_what_is_queued_when_the_server_ends_is_written_by_the_next_one(settings: Settings, tmp_path: Path) -> None:
    first = opened(settings, tmp_path)
    first.worker.submit("eve", "other", held(threading.Event()), lane="disk")
    jobs = [export.submit(first, "ann", RECIPE, MODELS, f"out{number}")[0] for number in range(3)]
    first.close()
    assert {job.state for job in jobs} == {JobState.CANCELLED}
    second = opened(settings, tmp_path)
    try:
        assert states(second) == [("export", "queued")] * 3
        taken = take_up(second)
        assert [job.id for job in taken] == [job.id for job in jobs]
        assert all(job.wait(SECONDS) and job.state is JobState.DONE for job in taken)
        folders = sorted(folder.name for folder in settings.export_root.iterdir())
        assert folders == ["out0", "out1", "out2"]
    finally:
        second.close()
    third = opened(settings, tmp_path)
    try:
        assert take_up(third) == [] and states(third) == [("export", "done")] * 3
        told = journal.known(third.store, jobs[0].id)
        assert told is not None and (told["state"], told["result"]["folder"]) == ("done", "out0")
    finally:
        third.close()


def test_what_the_owner_stopped_is_not_taken_up(settings: Settings, tmp_path: Path) -> None:
    first = opened(settings, tmp_path)
    first.worker.submit("eve", "other", held(threading.Event()), lane="disk")
    job, _ = export.submit(first, "ann", RECIPE, MODELS, "out")
    assert first.worker.cancel("ann", job.id)
    assert states(first) == [("export", "cancelled")]
    first.close()
    second = opened(settings, tmp_path)
    assert take_up(second) == []
    second.close()


def test_an_export_that_was_running_is_begun_again_once_and_then_given_up(settings: Settings, tmp_path: Path) -> None:
    kept = {"recipe": RECIPE.to_json(), "models": MODELS, "folder": "out"}
    for death in range(3):
        workshop = opened(settings, tmp_path)
        if death == 0:
            workshop.store.add_job("ann", "export", kept, "deadly")
            workshop.store.update_job("deadly", "running")  # and the server dies
        elif death == 1:
            workshop.worker.submit("eve", "other", held(threading.Event()), lane="disk")
            assert [job.id for job in take_up(workshop)] == ["deadly"]
            workshop.store.update_job("deadly", "running")
        else:
            assert take_up(workshop) == []
            lost = workshop.store.job("ann", "deadly")
            assert lost is not None and lost.state == "failed" and lost.error is not None
            assert lost.error["code"] == "JOB_LOST"
            assert not (settings.export_root / "out").exists()
        workshop.close()


def test_a_finished_export_that_was_not_written_down_is_not_made_twice(settings: Settings, tmp_path: Path) -> None:
    workshop = opened(settings, tmp_path)
    try:
        job, folder = export.submit(workshop, "ann", RECIPE, MODELS, "out")
        assert job.wait(SECONDS) and job.state is JobState.DONE
        written = (settings.export_root / folder / "model.safetensors").stat().st_mtime_ns
        assert states(workshop) == [("export", "done")]
        workshop.store.update_job(job.id, "queued")
        (again,) = take_up(workshop)
        assert again.wait(SECONDS) and again.state is JobState.DONE
        assert again.result["folder"] == folder
        assert (settings.export_root / folder / "model.safetensors").stat().st_mtime_ns == written
        assert [one.name for one in settings.export_root.iterdir()] == ["out"]
    finally:
        workshop.close()


def test_what_cannot_be_begun_anew_fails_with_the_reason(settings: Settings, tmp_path: Path) -> None:
    workshop = opened(settings, tmp_path)
    try:
        gone = {"recipe": RECIPE.to_json(), "models": {**MODELS, "b": "gone"}, "folder": "out"}
        workshop.store.add_job("ann", "export", gone, "gone")
        workshop.store.add_job("ann", "of another version", {}, "unknown")
        assert take_up(workshop) == []
        for key, code in (("gone", None), ("unknown", "INTERNAL")):
            job = workshop.store.job("ann", key)
            assert job is not None and job.state == "failed" and job.error is not None
            assert job.error["sentence"].keys() == {"ru", "en"} and code in {None, job.error["code"]}
    finally:
        workshop.close()


def test_a_job_that_cannot_be_written_down_is_refused(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: Any) -> str:
        raise DiskFull(needed="1", free="0")

    monkeypatch.setattr(workshop.store, "add_job", full)
    with pytest.raises(DiskFull):
        export.submit(workshop, "ann", RECIPE, MODELS, "out")
    assert workshop.worker.jobs("ann") == []


def test_two_servers_do_not_share_a_data_folder(settings: Settings, tmp_path: Path) -> None:
    first = opened(settings, tmp_path)
    with pytest.raises(DataInUse):
        OneServer(settings.data)
    second = opened(replace(settings, data=tmp_path / "other"), tmp_path)
    second.close()
    first.close()
    OneServer(settings.data).release()
