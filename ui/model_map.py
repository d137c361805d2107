"""The map of the models: where A and B differ, layer by layer. Measured once per pair, as a job beside the device."""

from collections.abc import Generator
from typing import Any

from ui.catalog import both
from ui.sessions import Session
from ui.views import action
from ui.worker import Job
from ui.workshop import Workshop


@action("map.measure")
def measure(workshop: Workshop, session: Session, payload: dict[str, Any]) -> None:
    _, models = session.mixture()
    sources = workshop.models.checked(models, needs_base=False)

    def work(job: Job) -> Generator[None, None, dict[str, Any]]:
        from merger.explain import explain

        job.report("map")
        yield
        found = explain(
            sources["a"],
            sources["b"],
            sources.get("base"),
            on_progress=lambda done, total: job.report("map", done, total),
            cancelled=job.cancelled,
        )
        told = both(found.to_json("ru"), found.to_json("en"))
        del told["tensors"]  # hundreds of rows that nobody reads on a page; `python -m merger explain` prints them
        return told

    def publish(job: Job) -> None:
        session.publish(map={"models": models, "job": workshop.worker.to_json(job), "result": job.result})

    job = workshop.worker.submit(session.owner, "map", work, lane="disk", supersede=True)
    workshop.follow(session, job, publish)
