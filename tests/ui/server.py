"""The app on a port of its own, for tests that talk to it as a script or a browser does."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def serving(settings: object, **options: object) -> Iterator[tuple[str, object]]:
    """(address, workshop) of a running app; closed with the block."""
    sys.path.insert(0, str(ROOT))
    import app as roof
    from ui.studio import build_app

    blocks = build_app(settings)  # type: ignore[arg-type]
    blocks.queue(default_concurrency_limit=32)
    launched = {**roof.launch_options(settings, blocks.workshop), **options}  # type: ignore[arg-type]
    _, address, _ = blocks.launch(prevent_thread_lock=True, quiet=True, **launched)
    try:
        yield address.rstrip("/"), blocks.workshop
    finally:
        blocks.close()
        blocks.workshop.close()
