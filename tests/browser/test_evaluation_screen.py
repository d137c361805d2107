"""The evaluation screen in a browser: by keyboard, through a reload, with a set of one's own, its report in a frame."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.browser.conftest import Served, Visitor
from tests.browser.test_screens import serious
from tests.browser.waiting import until
from tests.evaluation.trio import write_corpus

Visit = Callable[..., Visitor]
DONE = "WM.slices.evaluation?.state === 'done'"


def opened(visitor: Visitor) -> Any:
    visitor.settled()
    visitor.page.locator("#wm-tab-evaluation").click()
    visitor.page.wait_for_selector('[data-focus="evaluate"]:not([disabled])')
    return visitor.page


def zipped(folder: Path, spoil: bool = False) -> Path:
    corpus = folder / "corpus"
    corpus.mkdir()
    manifest = write_corpus(corpus, clips=3)
    if spoil:
        lines = [json.loads(line) for line in manifest.read_text(encoding="utf-8").splitlines()]
        lines[1]["audio_filepath"] = "${alert(1)}<img src=x onerror=alert(2)>.wav"
        manifest.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    with zipfile.ZipFile(folder / "my set.zip", "w") as out:
        for path in corpus.iterdir():
            out.write(path, path.name)
    return folder / "my set.zip"


@pytest.mark.parametrize(("lang", "theme"), [("ru", "light"), ("en", "dark")])
def test_the_samples_by_keyboard(visit: Visit, lang: str, theme: str) -> None:
    page = opened(visit(f"/?lang={lang}&__theme={theme}", viewport={"width": 1440, "height": 900}))
    page.locator('[data-focus="system-base"]').focus()
    page.keyboard.press("Space")
    assert not page.locator('[data-focus="system-base"]').is_checked()
    page.locator('[data-focus="evaluate"]').focus()
    page.keyboard.press("Enter")
    until(page, DONE)
    frame = page.locator("iframe.wm-report")
    frame.wait_for()
    assert frame.get_attribute("sandbox") == ""
    inside = page.frame_locator("iframe.wm-report")
    inside.locator("h1").wait_for()
    assert inside.locator("html").get_attribute("lang") == lang
    assert inside.locator("html").get_attribute("data-theme") == theme
    roles = page.evaluate("WM.slices.evaluation.rows.map(row => row.role)")
    assert roles == ["a", "b", "merged"]
    assert {"ru": "Слияние: WER", "en": "Merge: WER"}[lang] in page.locator(".wm-conclusion").inner_text()
    assert serious(page) == []
    with page.expect_download() as download:
        page.locator('[data-focus="keep-CSV"]').click()
    assert download.value.path().read_text(encoding="utf-8").startswith("\ufeffsection,group,system")
    dark = "getComputedStyle(document.body).backgroundColor"
    before = inside.locator("body").evaluate(f"() => {dark}")
    page.locator(".wm-head button[title]").last.focus()
    page.evaluate("document.dispatchEvent(new Event('wm-theme'))")
    assert inside.locator("body").evaluate(f"() => {dark}") == before


def test_the_report_may_run_nothing_and_reach_nothing(visit: Visit) -> None:
    page = opened(visit())
    page.locator('[data-focus="evaluate"]').click()
    until(page, DONE)
    page.locator("iframe.wm-report").wait_for()
    assert page.evaluate("document.querySelector('.wm-report').contentDocument") is None  # an origin of its own
    inside = page.frame_locator("iframe.wm-report")
    audio = inside.locator("audio").first
    if audio.count():
        audio.evaluate("node => node.load()")
        page.wait_for_timeout(200)


def test_a_reload_finds_the_run_again_and_it_can_be_stopped_and_gone_on_with(visit: Visit, served: Served) -> None:
    visitor = visit()
    page = opened(visitor)
    served.hold()
    page.locator('[data-focus="evaluate"]').click()
    until(page, "WM.slices.evaluation?.job?.stage === 'evaluation.listen'")
    page.reload()
    visitor.ready()
    page.locator("#wm-tab-evaluation").click()
    page.wait_for_selector("#wm-evaluation .wm-bar")
    assert page.locator('[data-focus="evaluate"]').is_disabled()
    assert serious(page) == []
    page.locator('[data-focus="stop-evaluation"]').click()
    until(page, "WM.slices.evaluation.state === 'cancelled'")
    served.release()
    page.locator('[data-focus="resume-evaluation"]').click()
    until(page, DONE)
    page.locator('[data-focus="evaluate"]').click()
    page.wait_for_selector(".wm-before")
    until(page, DONE)
    first = page.locator(".wm-before .wm-button", has_text="Открыть")
    wanted = page.evaluate("WM.slices.evaluation.id")
    first.click()
    until(page, f"WM.slices.evaluation.id !== '{wanted}'")
    page.wait_for_selector("iframe.wm-report")


def test_a_set_of_ones_own_and_its_bad_lines(visit: Visit, tmp_path: Path) -> None:
    page = opened(visit("/?lang=ru", viewport={"width": 390, "height": 844}))
    page.locator("#wm-evaluation input[type=file]").set_input_files(zipped(tmp_path, spoil=True))
    page.wait_for_selector('[data-focus="set-archive"]:checked')
    page.locator('[data-focus="evaluate"]').click()
    until(page, "WM.slices.evaluation?.state === 'failed'")
    listed = page.locator(".wm-faults li")
    assert listed.count() == 1 and "строка 2" in listed.inner_text() and "${alert(1)}" in listed.inner_text()
    assert serious(page) == []
    page.locator('[data-focus="skip-evaluation"]').click()
    until(page, DONE)
    assert "my set.zip" in page.locator("#wm-evaluation h2").nth(1).inner_text()
    assert "Пропущено строк: 1" in page.locator("#wm-evaluation").inner_text()
    page.locator("iframe.wm-report").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    small = page.evaluate(
        "[...document.querySelectorAll('#wm-evaluation :is(button, label.wm-check)')].filter(n => n.offsetParent"
        " && n.getBoundingClientRect().height < 44).map(n => n.innerText)"
    )
    assert small == []


def test_a_set_of_ones_own_stays_chosen_for_the_next_recipe(visit: Visit, tmp_path: Path) -> None:
    page = opened(visit("/?lang=ru"))
    page.locator("#wm-evaluation input[type=file]").set_input_files(zipped(tmp_path))
    page.wait_for_selector('[data-focus="set-archive"]:checked')
    run = None
    for _ in range(2):  # the server has let go of the file by the second time
        page.locator('[data-focus="evaluate"]').click()
        until(page, f"WM.slices.evaluation?.id !== {json.dumps(run)} && {DONE}")
        run = page.evaluate("WM.slices.evaluation.id")
        assert page.locator('[data-focus="set-archive"]').is_checked()
        assert "my set.zip" in page.locator("#wm-evaluation h2").nth(1).inner_text()
