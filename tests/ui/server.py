"""The app on a port of its own, for tests that talk to it as a script or a browser does."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gradio_client import Client

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT = 120.0  # seconds that an answer may take on a busy machine; httpx itself gives it five


def client_of(address: str) -> Client:
    """A script's client of a running app."""
    return Client(address, verbose=False, httpx_kwargs={"timeout": TIMEOUT})


@contextmanager
def serving(settings: object, **options: object) -> Iterator[tuple[str, object]]:
    """(address, workshop) of a running app; closed with the block."""
    sys.path.insert(0, str(ROOT))
    import app as roof
    from ui.local_executor import LocalExecutor
    from ui.studio import build_app
    from ui.workshop import Workshop

    # In this process, so that a test can hold a transcription; tests/faults runs the app as it is started.
    workshop = Workshop(settings, executors=[LocalExecutor(settings.device)])  # type: ignore[arg-type, attr-defined]
    blocks = build_app(settings, workshop=workshop)  # type: ignore[arg-type]
    blocks.queue(default_concurrency_limit=32)
    launched = {**roof.launch_options(settings, blocks.workshop), **options}  # type: ignore[arg-type]
    _, address, _ = blocks.launch(prevent_thread_lock=True, quiet=True, **launched)
    try:
        yield address.rstrip("/"), blocks.workshop
    finally:
        blocks.close()
        blocks.workshop.close()
