"""The page put together: islands in place, both languages, the two functions by which a page talks to the server."""

import asyncio
import logging
from typing import Any

import gradio as gr

from ui import hub, views
from ui.catalog import PRESETS, component_catalog, method_catalog
from ui.components import island
from ui.endpoints import add_endpoints
from ui.errors import report
from ui.sessions import owner_of
from ui.settings import Settings
from ui.texts import texts
from ui.views import ACTIONS
from ui.workshop import Workshop

log = logging.getLogger(__name__)

WATCH_SECONDS = 20.0  # how long a page's question for news stays open
RECORD_SECONDS = 300
SWEEP_SECONDS, UPLOAD_SECONDS = 3600, 86_400  # how often Gradio's cache is swept of uploads, and of how old ones
SIDE = ("mixer",)
MAIN = ("listen", "player", "grid", "judge", "blind", "sweep", "evaluation", "history", "export", "model_map", "help")


def build_app(settings: Settings, lang: str | None = None, workshop: Workshop | None = None) -> gr.Blocks:
    """The app in both languages; `lang` is the one shown where neither the address nor the browser chooses.

    The `Workshop` is the Blocks' attribute `workshop`; close it when the app ends.
    """
    views.load()
    workshop = workshop or Workshop(settings)
    with gr.Blocks(
        title="whisper-merge", analytics_enabled=False, fill_width=True, delete_cache=(SWEEP_SECONDS, UPLOAD_SECONDS)
    ) as app:
        island("shell", boot(workshop, lang or settings.lang), server_functions=[_act(workshop), _watch(workshop)])
        with gr.Row(elem_id="wm-layout"):
            with gr.Column(elem_id="wm-side"):
                for name in SIDE:
                    island(name)
            with gr.Column(elem_id="wm-main"):
                for name in MAIN:
                    island(name)
        if hub.login_offered():
            gr.LoginButton(visible=False)  # with it Gradio serves the login; the page draws a link of its own
        add_endpoints(workshop)
    app.workshop = workshop
    return app


def boot(workshop: Workshop, lang: str) -> dict[str, Any]:
    """What the page needs before it has asked anything; the same for everybody, so it travels with the page."""
    settings = workshop.settings
    return {
        "lang": lang,
        "texts": texts(),
        "methods": method_catalog(),
        "components": component_catalog(),
        "presets": [one.to_json() for one in PRESETS],
        "limits": {
            "upload_mb": settings.max_upload_mb,
            "keep_days": settings.keep_clips_days,
            "record_seconds": min(RECORD_SECONDS, settings.max_audio_seconds),
        },
        "public": settings.public,
        "quarantined": workshop.store.quarantined is not None,
    }


def _act(workshop: Workshop) -> Any:
    def act(
        request: dict[str, Any], profile: gr.OAuthProfile | None = None, token: gr.OAuthToken | None = None
    ) -> dict[str, Any]:
        """One action of one person: `{"result"}` or `{"error"}`, never an exception for the page to guess at.

        Gradio fills in `profile` and `token` where the visitor has signed in with Hugging Face.
        """
        try:
            session = workshop.session(owner_of(request["owner"]))
            with hub.asked_by(profile, token):
                result = ACTIONS[request["action"]](workshop, session, request.get("payload") or {})
            # With what has changed: an older answer that is still under way can then not undo it on the page.
            return {"result": result, "slices": session.newer(request.get("known") or {})}
        except Exception as error:
            told = report(error)
            if told["code"] == "INTERNAL":
                log.exception("action %s failed, error id %s", request.get("action"), told["id"])
            return {"error": told}

    return act


def _watch(workshop: Workshop) -> Any:
    async def watch(request: dict[str, Any]) -> dict[str, Any]:
        """The slices that are newer than what the page knows; waits for the next change if there are none."""
        session = await asyncio.to_thread(workshop.session, owner_of(request["owner"]))
        return {"slices": await session.wait(request.get("known") or {}, WATCH_SECONDS)}

    return watch
