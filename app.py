"""Reads the settings, puts the app together, serves it. `make app` runs this file."""

import logging
import os
import signal
import sys
from typing import Any

# Before gradio and huggingface_hub are imported: nothing is reported to anybody, nothing is fetched unasked.
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

from ui.settings import BadSetting, Settings, from_environment


def launch_options(settings: Settings, workshop: Any) -> dict[str, Any]:
    """How Gradio serves the page; GRADIO_SERVER_NAME and GRADIO_SERVER_PORT are its own and keep their meaning."""
    from ui import components, web
    from ui.theme import theme

    return {
        "theme": theme(),
        "head": components.head(),
        "app_kwargs": {"routes": web.routes(workshop), "middleware": web.middleware(workshop)},
        "max_file_size": f"{settings.max_upload_mb}mb",
        "show_error": False,
        "ssr_mode": False,
        "run_history": False,
        "strict_cors": True,
        "footer_links": [],
        "auth": read_logins(settings),
    }


def read_logins(settings: Settings) -> list[tuple[str, str]] | None:
    """`name:password` lines of the login file, if one is set."""
    if settings.login_file is None:
        return None
    lines = settings.login_file.read_text(encoding="utf-8").splitlines()
    return [(name, word) for name, _, word in (line.partition(":") for line in lines) if name and word]


def _stop(number: int, frame: object) -> None:
    """SIGTERM ends as Ctrl-C does: the running job stops at its next poll, the database is closed.

    Not by sending SIGINT: a process that was started in the background may ignore that one.
    """
    raise KeyboardInterrupt


def main() -> int:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        settings = from_environment()
    except BadSetting as error:
        print(f"BAD_SETTING: {error}", file=sys.stderr)
        return 2
    from ui.studio import build_app

    app = build_app(settings)
    app.queue(default_concurrency_limit=32)
    app.workshop.warm_up()
    signal.signal(signal.SIGTERM, _stop)
    try:
        app.launch(**launch_options(settings, app.workshop))
    except KeyboardInterrupt:
        pass
    finally:
        app.workshop.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
