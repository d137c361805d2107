"""Durable jobs are written down, and taken up again by the next start of the server.

A kind of job is durable if something is registered for it here: what begins it anew from its JSON. Its inputs have to
lie on disk (models, recipes, samples); what lives in the memory of one server (a session's result, a proof) is not
taken up, and is lost with it.
"""

import fcntl
import logging
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

from evaluation.store import Store
from merger.bilingual import Text
from merger.errors import WhisperMergeError
from merger.transaction import sweep
from ui.errors import report
from ui.jobs import FINISHED, Job, JobState

log = logging.getLogger(__name__)

# kind → function(workshop, owner, durable JSON, job id) that submits the job again
Resume = Callable[[Any, str, dict[str, Any], str], Job]
RESUMED: dict[str, Resume] = {}


class JobLost(WhisperMergeError):
    """The server ended, each time it tried, while it did this job."""

    code = "JOB_LOST"
    sentence_text = Text(
        "Сервер дважды прервался на этом задании; в третий раз оно не начато.",
        "The server ended twice while it did this job; it was not begun a third time.",
    )
    remedy_text = Text(
        "Проверьте память и место на диске, затем начните его снова.",
        "Check memory and disk space, then start it again.",
    )


class DataInUse(WhisperMergeError):
    """Another server works on this data folder."""

    code = "DATA_IN_USE"
    sentence_text = Text(
        "С этой папкой данных уже работает другой сервер.", "Another server already works on this data folder."
    )
    remedy_text = Text(
        "Остановите его или задайте другую папку в WHISPER_MERGE_DATA.",
        "Stop it, or name another folder in WHISPER_MERGE_DATA.",
    )


def resumes(kind: str) -> Callable[[Resume], Resume]:
    """Registers what begins a durable job of this kind anew."""

    def keep(function: Resume) -> Resume:
        RESUMED[kind] = function
        return function

    return keep


class OneServer:
    """Holds the data folder as long as this server lives: two would take up, and fail, each other's jobs.

    The lock belongs to the process and goes with it, however it ends. Raises DataInUse.
    """

    def __init__(self, data: Path) -> None:
        self._file = os.open(data / "server.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._file)
            raise DataInUse() from error

    def release(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


class StoreJournal:
    """Writes durable jobs into the history's table of jobs (`ui.jobs.Journal`)."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def queued(self, job: Job) -> None:
        if self._store.job(job.owner, job.id) is None:
            self._store.add_job(job.owner, job.kind, job.durable or {}, job.id)

    def began(self, job: Job) -> None:
        self._store.update_job(job.id, "running")

    def ended(self, job: Job) -> None:
        if job.interrupted and job.state is not JobState.DONE:
            if job.started is not None:  # a job that was not begun is written down as queued already
                self._store.update_job(job.id, "queued")
            return
        result = job.result if isinstance(job.result, dict) else None
        self._store.update_job(job.id, str(job.state), result=result, error=job.error)  # type: ignore[arg-type]


def take_up(workshop: Any) -> list[Job]:
    """At start: the jobs that the last server left behind. Those that cannot be begun anew fail with the reason."""
    store: Store = workshop.store
    if removed := sweep(workshop.settings.export_root):
        log.info("removed what %d interrupted exports had left", len(removed))
    given_up = JobLost()
    again, lost = store.recover_jobs(
        {
            "id": secrets.token_hex(4),
            "code": given_up.code,
            "sentence": {lang: given_up.sentence(lang) for lang in ("ru", "en")},
            "remedy": {lang: given_up.remedy(lang) for lang in ("ru", "en")},
        }
    )
    taken = []
    for kept in store.pending_jobs():
        try:
            taken.append(RESUMED[kept.kind](workshop, kept.owner, kept.payload, kept.id))
        except Exception as error:  # a model that has gone, a recipe of another version: this job's own failure
            store.update_job(kept.id, "failed", error=report(error))
    if taken or lost:
        log.info("jobs taken up: %d, of which %d were running; given up: %d", len(taken), again, lost)
    return taken


def known(store: Store, job_id: str) -> dict[str, Any] | None:
    """What is written down of a durable job that this process no longer, or never, held; as `/status` shows it."""
    kept = store.any_job(job_id)
    if kept is None:
        return None
    finished = kept.state in {str(state) for state in FINISHED}
    return {
        "id": kept.id, "kind": kept.kind, "state": kept.state, "stage": kept.state, "facts": {},
        "progress": 1.0 if kept.state == "done" else None, "elapsed": round(kept.updated - kept.created, 3),
        "remaining": None, "ahead": 0, "wait": 0.0, "stopping": False, "error": kept.error,
        "result": kept.result if finished else None,
    }  # fmt: skip
