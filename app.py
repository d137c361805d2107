"""Reads the settings, puts the app together, serves it. `make app` runs this file."""

import argparse
import getpass
import logging
import os
import signal
import sys
from collections.abc import Sequence
from typing import Any

from ui import space

# Before gradio and huggingface_hub are imported: nothing is reported to anybody, nothing is fetched unasked, and no
# proxy header is believed but by the guard.
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ["FORWARDED_ALLOW_IPS"] = ""
os.environ.update(space.places())
if os.environ.get("SPACES_ZERO_GPU"):
    import spaces  # noqa: F401  (it changes torch, so it has to come before whatever imports that)

from merger.bilingual import preferred_language
from merger.console import error_text
from merger.errors import WhisperMergeError
from ui import logs, redaction
from ui.errors import report
from ui.settings import PREFIX, PROFILES, BadSetting, Settings, from_environment

log = logging.getLogger("app")


def launch_options(settings: Settings, workshop: Any) -> dict[str, Any]:
    """How Gradio serves the page; GRADIO_SERVER_NAME and GRADIO_SERVER_PORT are its own and keep their meaning."""
    from ui import components, endpoints, web, zero_gpu
    from ui.theme import theme

    return {
        "theme": theme(),
        "head": components.head() + (zero_gpu.head() if zero_gpu.wanted() else ""),
        "app_kwargs": web.app_kwargs(workshop),
        "max_threads": endpoints.slots(settings),
        "max_file_size": settings.largest_file,
        "show_error": False,
        "ssr_mode": False,
        "run_history": False,
        "strict_cors": True,
        "enable_monitoring": False,
        "mcp_server": False,
        "share": False,
        "footer_links": [],
    }


def read_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python app.py", description="whisper-merge in the browser; settings: docs/settings.md", allow_abbrev=False
    )
    parser.add_argument("--profile", choices=PROFILES, help="limits for a lab's box or for a public Space")
    parser.add_argument("--add-user", metavar="NAME", help="add a login or change its password, and end")
    parser.add_argument("--remove-user", metavar="NAME", help="remove a login, and end")
    return parser.parse_args(arguments)


def change_users(settings: Settings, given: argparse.Namespace) -> None:
    """Writes the users file. The password is asked for, or comes as one line of standard input. Raises BadSetting."""
    from ui.login import Users
    from ui.setting_kinds import fault

    if settings.login_file is None:
        variable, path = f"{PREFIX}LOGIN_FILE", "/var/lib/whisper-merge/users"
        raise BadSetting(
            faults=[
                fault(
                    f"Не задан файл пользователей {variable}.", f"The users file {variable} is not set.",
                    f"Например: {variable}={path}.", f"For example {variable}={path}.",
                )
            ]
        )  # fmt: skip
    users = Users(settings.login_file)
    if given.remove_user:
        users.put(given.remove_user, None)
        return
    typed = getpass.getpass("Пароль / Password: ") if sys.stdin.isatty() else sys.stdin.readline().rstrip("\n")
    users.put(given.add_user, typed)


def _stop(number: int, frame: object) -> None:
    """SIGTERM ends as Ctrl-C does: the running job stops at its next poll, the database is closed.

    Not by sending SIGINT: a process that was started in the background may ignore that one.
    """
    raise KeyboardInterrupt


def serve(settings: Settings) -> None:
    """Runs until it is stopped."""
    from ui.journal import take_up
    from ui.studio import build_app

    log.info("settings: %s", " ".join(f"{name}={value}" for name, value in settings.told().items() if value))
    app = build_app(settings)
    app.queue(default_concurrency_limit=32)
    app.workshop.warm_up()
    signal.signal(signal.SIGTERM, _stop)
    try:
        take_up(app.workshop)
        app.launch(**launch_options(settings, app.workshop))
    except KeyboardInterrupt:
        pass
    finally:
        log.info("stopping: what runs is stopped, what is durable is kept for the next start")
        app.workshop.close()
        log.info("stopped")


def main(arguments: Sequence[str]) -> int:
    """Exit status: 0, 2 for settings that cannot be understood, 1 for any other coded error."""
    given = read_arguments(arguments)
    logs.configure()
    redaction.install()
    try:
        profile = {f"{PREFIX}PROFILE": given.profile} if given.profile else {}
        settings = from_environment({**os.environ, **profile})
        logs.configure(settings.log_format)
        if given.add_user or given.remove_user:
            change_users(settings, given)
        else:
            serve(settings)
    except BadSetting as error:
        print(error_text(error, preferred_language()), file=sys.stderr)
        return 2
    except WhisperMergeError as error:
        print(error_text(error, preferred_language()), file=sys.stderr)
        return 1
    except Exception as error:  # the last resort: a sentence for the user, the traceback for the log
        told = report(error)
        lang = preferred_language()
        print(f"{told['code']} {told['id']}: {told['sentence'][lang]} {told['remedy'][lang]}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
