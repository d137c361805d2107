"""The named endpoints for scripts: `/methods`, `/merge`, `/compare`, `/export`, `/status`; no page is needed.

    client = Client("http://127.0.0.1:7860")
    client.predict({"method": "slerp", "parameters": {"slerp_t": 0.3}}, api_name="/merge")
    client.predict(handle_file("clip.wav"), {"method": "direct"}, None, api_name="/compare")
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Generator
from functools import wraps
from pathlib import Path
from typing import Any

import gradio as gr

from merger.bilingual import Text
from merger.recipe import MergeRecipe
from merger.registry import methods
from ui import export
from ui.clips import clean_name
from ui.comparison import SIDES
from ui.errors import BadArgument, NotFound, bilingual, report
from ui.journal import known
from ui.settings import Settings
from ui.worker import Job, JobState
from ui.workshop import Workshop

log = logging.getLogger(__name__)

QUICK = 32  # calls at once of each endpoint that does not wait for the worker


def slots(settings: Settings) -> int:
    """Calls that Gradio's queue may have open at once.

    A call that waits for the worker keeps its slot all the while. There are as many of these as unfinished jobs are
    allowed, and others beside them: a crowd that waits keeps nobody from asking how it stands.
    """
    return settings.jobs_in_all + 3 * QUICK


class EndpointError(gr.Error):
    """A coded sentence for a script, without a traceback: `CODE: what happened. What to do.`"""

    def __init__(self, told: dict[str, Any]) -> None:
        sentence, remedy = told["sentence"]["en"], told["remedy"]["en"]
        super().__init__(f"{told['code']}: {sentence} {remedy} ({told['id']})".strip(), print_exception=False)


def add_endpoints(workshop: Workshop) -> None:
    """Registers all endpoints in the Blocks that is being built."""
    waiting = {"concurrency_limit": workshop.settings.jobs_in_all, "concurrency_id": "waiting"}
    quick = {"concurrency_limit": QUICK}
    for name, function, calls in (
        ("merge", _merge(workshop), waiting),
        ("compare", _compare(workshop), waiting),
        ("methods", _methods, quick),
        ("export", _export(workshop), quick),
        ("status", _status(workshop), quick),
    ):
        gr.api(_coded(function), api_name=name, **calls)


def _coded(function: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    @wraps(function)
    async def call(*arguments: Any, **named: Any) -> Any:
        try:
            return await function(*arguments, **named)
        except EndpointError:
            raise
        except Exception as error:
            told = report(error)
            if told["code"] == "INTERNAL":
                log.exception("endpoint failed, error id %s", told["id"])
            raise EndpointError(told) from None

    return call


async def _finished(job: Job, workshop: Workshop) -> Any:
    """The job's result; its error becomes the endpoint's; a caller who goes away stops it."""
    try:
        await job.ended()
    except asyncio.CancelledError:
        workshop.worker.cancel(job.owner, job.id)
        raise
    if job.error is not None:
        raise EndpointError(job.error)
    if job.state is JobState.CANCELLED:
        from merger.errors import Cancelled

        raise Cancelled()
    return job.result


def _owner(request: gr.Request) -> str:
    return f"api-{request.session_hash or 'direct'}"


def _chosen(workshop: Workshop, model_a: str | None, model_b: str | None, base: str | None) -> dict[str, str | None]:
    """The models of a request: those it names, otherwise the server's default pair."""
    default = workshop.settings.default_models
    named = {"a": _text("model_a", model_a), "b": _text("model_b", model_b), "base": _text("base", base)}
    return {role: ref or default[role] for role, ref in named.items()}


def _text(argument: str, value: Any) -> str | None:
    """An optional text as a script gave it; None for an empty one. Raises BadArgument for anything else."""
    if value is not None and (not isinstance(value, str) or "\0" in value):
        raise BadArgument(argument=argument, expected=Text("строка или null", "a text or null"))
    return (value or "").strip() or None


def _upload(audio: Any) -> tuple[str, str]:
    """(path, name) of an uploaded file. Raises BadArgument for what is none."""
    given = audio if isinstance(audio, dict) or audio is None else audio.model_dump()
    path = (given or {}).get("path")
    if not isinstance(path, str) or not path or "\0" in path:
        raise BadArgument(argument="audio", expected=Text("загруженный файл", "an uploaded file"))
    return path, clean_name(str(given.get("orig_name") or path))


async def _methods() -> list:
    """Every merge method with its parameters, ranges, defaults and help, in Russian and English."""
    return [{"ru": spec.to_json("ru"), "en": spec.to_json("en"), "name": spec.name} for spec in methods().values()]


def _merge(workshop: Workshop) -> Callable[..., Awaitable[dict]]:
    async def merge(
        recipe: dict,
        model_a: str | None = None,
        model_b: str | None = None,
        base: str | None = None,
        request: gr.Request = None,  # type: ignore[assignment]
    ) -> dict:
        """Merge in device memory, nothing on disk. Returns digest, summary (ru, en), performed method, seconds."""
        wanted = MergeRecipe.from_json(recipe)
        models = _chosen(workshop, model_a, model_b, base)
        sources = await asyncio.to_thread(workshop.sources, models, wanted)

        def work(job: Job) -> Generator[None, None, dict[str, Any]]:
            pair = yield from workshop.loaded(job, sources)
            job.report("merge")
            applied = pair.apply(wanted, job.cancelled)
            return {
                "digest": applied.digest,
                "summary": bilingual(workshop.sentence(wanted, models)),
                "recipe": wanted.to_json(),
                "requested": wanted.method,
                "performed": applied.performed,
                "seconds": applied.seconds,
                "warnings": [bilingual(one) for one in applied.warnings],
            }

        return await _finished(workshop.worker.submit(_owner(request), "merge", work), workshop)

    return merge


def _compare(workshop: Workshop) -> Callable[..., Awaitable[dict]]:
    async def compare(
        audio: gr.FileData,
        recipe: dict,
        reference: str | None = None,
        model_a: str | None = None,
        model_b: str | None = None,
        base: str | None = None,
        request: gr.Request = None,  # type: ignore[assignment]
    ) -> dict:
        """Transcribe a recording with A, the merge and B. Scores are fractions, null without a reference."""
        wanted, (path, name), spoken = MergeRecipe.from_json(recipe), _upload(audio), _text("reference", reference)
        models = _chosen(workshop, model_a, model_b, base)
        sources = await asyncio.to_thread(workshop.sources, models, wanted)
        clip = await workshop.clips.decode_upload(path, name)
        await asyncio.to_thread(Path(path).unlink, missing_ok=True)  # decoded, it is of no more use to anybody

        def work(job: Job) -> Generator[None, None, dict[str, Any]]:
            sides = yield from workshop.listening(job, sources, models, wanted, clip, spoken)
            shown = {
                side: {key: sides[side][key] for key in ("text", "seconds", "wer", "cer")} for side in SIDES
            }
            return {**shown, "recipe": wanted.to_json(), "audio_seconds": clip.seconds}

        return await _finished(workshop.worker.submit(_owner(request), "compare", work), workshop)

    return compare


def _export(workshop: Workshop) -> Callable[..., Awaitable[dict]]:
    async def export_model(
        recipe: dict,
        name: str | None = None,
        model_a: str | None = None,
        model_b: str | None = None,
        base: str | None = None,
        request: gr.Request = None,  # type: ignore[assignment]
    ) -> dict:
        """Begin to write the merged model to the server's export folder. Returns the job's id; ask `/status` for it."""
        wanted = MergeRecipe.from_json(recipe)
        models = _chosen(workshop, model_a, model_b, base)
        folder_name = _text("name", name)
        job, folder = await asyncio.to_thread(export.submit, workshop, _owner(request), wanted, models, folder_name)
        return {"job": job.id, "folder": folder}

    return export_model


def _status(workshop: Workshop) -> Callable[..., Awaitable[dict]]:
    async def status(job: str | None = None) -> dict:
        """What the worker is doing; with a job's id, that job's state, progress, times, error and result."""
        if job is None:
            jobs = workshop.worker.jobs()
            count = {state: sum(one.state == state for one in jobs) for state in ("running", "queued", "paused")}
            return {"alive": workshop.worker.alive(), **count, "sessions": len(workshop.sessions)}
        found = next((one for one in workshop.worker.jobs() if one.id == job), None)
        if found is None:
            if (kept := await asyncio.to_thread(known, workshop.store, job)) is not None:
                return kept  # of an earlier server
            raise NotFound(what=Text("задание", "job"))
        told = workshop.worker.to_json(found)
        return {**told, "result": found.result if isinstance(found.result, dict) else None}

    return status
