"""A real Chromium on a running app. Without a browser these tests skip loudly, and fail where CI=true."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.browser.waiting import until
from tests.ui.conftest import demo_folder, write_tone
from tests.ui.server import serving
from ui.components import NAMES
from ui.settings import Settings

__all__ = ["demo_folder"]

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
    "--autoplay-policy=no-user-gesture-required", "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
]  # fmt: skip
SECONDS = 180_000  # milliseconds that a test waits for something to appear: a busy machine is no fault
# Nothing moves any more, apart from what moves for as long as something is under way.
STILL = """() => WM.pending === 0 && document.getAnimations().every(one => one.playState !== 'running'
  || one.effect?.getComputedTiming().endTime === Infinity)"""
LOOP = "document.querySelector('.wm-player .wm-check input').click()"  # a sample is over sooner than a test may look
MOUNTED = "n => [...document.querySelectorAll('.wm-island')].filter(one => one.children.length).length === n"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in Path(item.fspath).parents:
            item.add_marker(pytest.mark.browser)
            if os.environ.get("CI") == "true":
                # On a shared machine a browser can starve. Both tries are reported ("1 rerun"); nowhere else is there
                # a second one, so that a race is met where somebody can look for it.
                item.add_marker(pytest.mark.flaky(reruns=1))
            elif CHROMIUM is None:
                item.add_marker(pytest.mark.skip(reason="no Chromium here: apt-get install chromium"))


@dataclass
class Served:
    """A running app; `hold()` makes every transcription wait until `release()`."""

    address: str
    workshop: Any
    gate: threading.Event = field(default_factory=threading.Event)

    def hold(self) -> None:
        self.gate.clear()

    def release(self) -> None:
        self.gate.set()


@pytest.fixture(scope="module")
def served(demo_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    from evaluation.live_transcriber import LiveTranscriber
    from merger.errors import Cancelled

    root = tmp_path_factory.mktemp("browser")
    settings = Settings(
        data=root / "data",
        export_root=root / "exports",
        demo_models=demo_folder / "models",
        samples=demo_folder / "samples",
        model_roots=(demo_folder / "more",),
        device="cpu",
        hub=False,
    )
    plain = LiveTranscriber.transcribe_all
    with serving(settings) as (address, workshop), pytest.MonkeyPatch.context() as patch:
        server = Served(address, workshop)
        server.release()

        def gated(self: Any, models: Any, clip: Any, options: Any, cancelled: Callable[[], bool] | None = None) -> Any:
            while not server.gate.wait(0.02):
                if cancelled is not None and cancelled():
                    raise Cancelled
            return plain(self, models, clip, options, cancelled)

        patch.setattr(LiveTranscriber, "transcribe_all", gated)
        yield server


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    assert CHROMIUM is not None, "CI needs a Chromium: apt-get install chromium"
    from playwright.sync_api import sync_playwright

    voice = write_tone(tmp_path_factory.mktemp("voice") / "voice.wav", seconds=3.0, rate=48_000)
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=CHROMIUM, args=[*FLAGS, f"--use-file-for-fake-audio-capture={voice}"]
        )
        yield chromium
        chromium.close()


@dataclass
class Visitor:
    """One person's page, and whatever went wrong on it."""

    page: Any
    faults: list[str]

    def text(self, side: str) -> str:
        return self.page.locator(f'[data-text="{side}"]').inner_text()

    def settled(self) -> None:
        """Waits until three fresh transcripts are shown and nothing is asked or runs."""
        until(
            self.page,
            "() => { if (!window.WM?.mixer || WM.pending || WM.mixer.busy) return false;"
            " const {result, recipe, clip, job} = WM.slices;"
            " return result && ['a', 'merged', 'b'].every(s => result[s]) && result.digest === recipe.key"
            " && result.clip === clip.id && !['queued', 'running'].includes(job?.state); }",
        )

    def show(self, tab: str) -> None:
        """Opens a tab and waits until it has what it asks for and stands still."""
        self.page.evaluate("tab => WM.show(tab)", tab)
        until(self.page, STILL)

    def ready(self) -> None:
        """Waits until every island of a page that is being opened is there."""
        until(self.page, MOUNTED, arg=len(NAMES))


@pytest.fixture
def visit(browser: Any, served: Served) -> Iterator[Callable[..., Visitor]]:
    """Opens a page as a new person; at the end no page may have logged an error or asked another host."""
    contexts, visitors = [], []

    def open_page(path: str = "/?lang=ru", **options: Any) -> Visitor:
        context = browser.new_context(permissions=["microphone", "clipboard-read", "clipboard-write"], **options)
        contexts.append(context)
        page = context.new_page()
        visitor = Visitor(page, [])
        visitors.append(visitor)
        page.set_default_timeout(SECONDS)
        page.on("console", lambda said: said.type == "error" and visitor.faults.append(said.text))
        page.on("pageerror", lambda fault: visitor.faults.append(str(fault)))
        page.on("dialog", lambda dialog: visitor.faults.append(f"dialog: {dialog.message}"))
        page.on(
            "request",
            lambda asked: asked.url.startswith(("http://", "https://"))
            and not asked.url.startswith(served.address)
            and visitor.faults.append(f"asked {asked.url}"),
        )
        page.goto(served.address + path)
        visitor.ready()
        return visitor

    yield open_page
    served.release()
    faults = [fault for visitor in visitors for fault in visitor.faults]
    for context in contexts:
        context.close()
    assert faults == []
