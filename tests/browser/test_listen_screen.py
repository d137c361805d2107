"""The main walk in a real browser: sample, slider, three transcripts, reload, microphone.

Longer than most files: one walk over one started server.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.browser.conftest import LOOP, Served, Visitor
from tests.browser.waiting import until
from tests.ui.conftest import EVIL, write_tone

Visit = Callable[..., Visitor]


@pytest.fixture
def tone(tmp_path: Path) -> Callable[..., bytes]:
    """Bytes of a WAV file of this pitch."""
    return lambda pitch: write_tone(tmp_path / f"{pitch}.wav", pitch=pitch).read_bytes()


def test_a_first_visit_shows_three_transcripts_without_a_click(visit: Visit) -> None:
    visitor = visit()
    visitor.settled()
    texts = [visitor.text(side) for side in ("a", "merged", "b")]
    assert all(texts) and texts[0] != texts[2]
    assert visitor.page.locator(".wm-verdict").get_attribute("data-state") == "ok"
    assert visitor.page.locator("html").get_attribute("lang") == "ru"


def test_choosing_a_sample_changes_what_is_heard(visit: Visit, served: Served) -> None:
    visitor = visit()
    visitor.settled()
    second = served.workshop.clips.samples[1]
    visitor.page.locator(f'[data-focus="clip-{second.id}"]').click()
    visitor.settled()
    assert visitor.page.evaluate("WM.slices.result.clip") == second.id
    assert visitor.page.locator(".wm-player b").inner_text() == "Вторая"


def test_words_of_another_recording_are_not_shown(visit: Visit, served: Served, tone: Callable[..., bytes]) -> None:
    visitor = visit()
    visitor.settled()
    page = visitor.page
    assert page.locator(".wm-column .wm-word").count() > 0
    served.hold()
    # A recording that nobody has heard yet: it cannot come from the memory of transcripts.
    page.locator('input[type="file"]').first.set_input_files(
        {"name": "другая.wav", "mimeType": "audio/wav", "buffer": tone(pitch=333.0)}
    )
    until(page, "WM.slices.clip.name.ru === 'другая.wav' && WM.slices.job.state === 'running'")
    assert page.evaluate("WM.slices.result.clip !== WM.slices.clip.id")
    assert page.locator(".wm-column .wm-word").count() == 0
    assert page.locator(".wm-column.wm-pending").count() == 3
    served.release()
    visitor.settled()
    assert page.locator(".wm-column .wm-word").count() > 0


def test_a_slider_moved_with_the_keyboard_changes_the_merge(visit: Visit) -> None:
    visitor = visit()
    visitor.settled()
    page = visitor.page
    page.get_by_role("radio", name="Direct").click()
    slider = page.locator("#wm-p-direct_alpha")
    slider.focus()
    before = float(slider.input_value())
    page.keyboard.press("ArrowLeft")  # towards A, which is on the left
    assert float(slider.input_value()) == pytest.approx(before + 0.05)
    page.keyboard.press("Home")
    until(page, "WM.slices.recipe.parameters.direct_alpha === 0")
    visitor.settled()
    assert visitor.text("merged") == visitor.text("b")
    page.locator("#wm-p-direct_alpha").focus()
    page.keyboard.press("End")
    until(page, "WM.slices.recipe.parameters.direct_alpha === 1")
    visitor.settled()
    assert visitor.text("merged") == visitor.text("a") != visitor.text("b")
    assert page.evaluate("document.activeElement.id") == "wm-p-direct_alpha", "the focus stays on the slider"
    assert "100" in page.locator("#wm-p-direct_alpha").get_attribute("aria-valuetext")


def test_a_reload_in_mid_job_finds_the_job_again(visit: Visit, served: Served) -> None:
    visitor = visit()
    visitor.settled()
    page = visitor.page
    page.locator('[data-focus="method-slerp"]').click()
    until(page, "WM.slices.recipe?.method === 'slerp'")
    visitor.settled()
    served.hold()
    page.locator("#wm-p-slerp_t").focus()
    page.keyboard.press("ArrowRight")
    until(page, "WM.slices.recipe.parameters.slerp_t > 0.5 && WM.slices.job.state === 'running'")
    job = page.evaluate("WM.slices.job.id")
    page.reload()
    until(page, "window.WM && WM.slices.job && WM.slices.job.state === 'running'")
    assert page.evaluate("WM.slices.job.id") == job
    assert page.locator('[data-focus="stop"]').is_visible()
    served.release()
    visitor.settled()
    assert page.evaluate("WM.slices.recipe.parameters.slerp_t") == pytest.approx(0.55)


def test_stop_really_stops(visit: Visit, served: Served) -> None:
    visitor = visit()
    visitor.settled()
    served.hold()
    visitor.page.evaluate("WM.mixer.set({method: 'direct', parameters: {direct_alpha: 0.123}, parts: undefined})")
    visitor.page.locator('[data-focus="stop"]').click()
    until(visitor.page, "WM.slices.job.state === 'cancelled'")
    assert "Остановлено" in visitor.page.locator(".wm-state").inner_text()
    # What was stopped can be asked for again, without moving a slider.
    go_on = visitor.page.locator('[data-focus="go-on"]')
    go_on.wait_for()
    served.release()
    go_on.click()
    visitor.settled()
    assert not go_on.is_visible()


def test_newer_moves_replace_older_ones(visit: Visit, served: Served) -> None:
    visitor = visit()
    visitor.settled()
    served.hold()
    visitor.page.locator('[data-focus="method-direct"]').click()
    visitor.page.locator("#wm-p-direct_alpha").focus()
    for step in range(1, 7):
        visitor.page.keyboard.press("ArrowLeft")
        until(
            visitor.page,
            "share => Math.abs(WM.slices.recipe.parameters.direct_alpha - share) < 1e-9", arg=0.5 + 0.05 * step
        )
    served.release()
    visitor.settled()
    assert visitor.page.evaluate("WM.slices.recipe.parameters.direct_alpha") == pytest.approx(0.8)
    states = [job.state for job in served.workshop.worker.jobs() if job.kind == "compare"]
    assert states.count("cancelled") >= 3


def test_recording_through_the_microphone(visit: Visit) -> None:
    visitor = visit()
    visitor.settled()
    page = visitor.page
    page.locator('[data-focus="record"]').click()
    until(page, "parseFloat(document.querySelector('.wm-sources .wm-figures')?.textContent) >= 1")
    page.locator('[data-focus="record"]').click()
    until(page, "WM.slices.clips.shelf.length === 1")
    visitor.settled()
    clip = page.evaluate("WM.slices.clip")
    assert clip["name"]["ru"].startswith("Микрофон") and 0.5 < clip["seconds"] < 60
    assert max(clip["peaks"]) == 1.0


def test_uploading_a_file_that_is_no_audio_says_so(visit: Visit, tmp_path_factory: pytest.TempPathFactory) -> None:
    visitor = visit()
    visitor.settled()
    bad = tmp_path_factory.mktemp("bad") / "песня.mp3"
    bad.write_bytes(b"<html></html>")
    visitor.page.locator('input[type="file"]').first.set_input_files(str(bad))
    toast = visitor.page.locator(".wm-toast-error")
    toast.wait_for()
    assert "песня.mp3" in toast.inner_text() and "BAD_AUDIO" in toast.inner_text()


def test_a_word_plays_and_the_keys_work_in_a_russian_layout(visit: Visit) -> None:
    visitor = visit()
    visitor.settled()
    page = visitor.page
    page.locator("body").click(position={"x": 5, "y": 300})
    page.evaluate("document.activeElement.blur()")
    page.evaluate(LOOP)
    page.evaluate("document.dispatchEvent(new KeyboardEvent('keydown', {code: 'Space', key: ' ', bubbles: true}))")
    until(page, "!WM.player.paused")
    for key, code in (("х", "BracketLeft"), ("ъ", "BracketRight"), ("ъ", "BracketRight")):
        page.evaluate(
            "([key, code]) => document.body.dispatchEvent(new KeyboardEvent('keydown', {key, code, bubbles: true}))",
            [key, code],
        )
    assert page.evaluate("WM.player.rate") == 1.25
    page.evaluate("WM.player.pause()")
    page.locator("#wm-reference").focus()
    page.keyboard.press("Space")
    assert page.evaluate("WM.player.paused"), "keys are text inside a text field"


def test_the_best_is_green_only_where_one_is_strictly_best(visit: Visit) -> None:
    visitor = visit()
    visitor.settled()
    page = visitor.page

    def green(a: float, merged: float | None, b: float) -> list[str]:
        """Columns marked as the best when the scores are these; None: that column is still being written."""
        page.evaluate(
            "([a, merged, b]) => { const {result} = WM.slices;"
            " for (const [role, wer] of Object.entries({a, merged, b}))"
            " result[role] = {...result[role], wer, cer: wer};"
            " document.querySelector('[data-focus=only]').click(); }",
            [a, merged, b],
        )
        return page.evaluate("[...document.querySelectorAll('.wm-best')].map(b => b.closest('article').dataset.role)")

    assert green(0.3, 0.1, 0.2) == ["merged"]
    assert green(1.0, 1.0, 1.0) == []
    assert green(0.1, 0.1, 0.2) == []
    assert green(0.1, None, 0.2) == []


def test_references_and_transcripts_show_as_text(visit: Visit, served: Served) -> None:
    visitor = visit()
    visitor.settled()
    page = visitor.page
    page.locator(f'[data-focus="clip-{served.workshop.clips.samples[2].id}"]').click()
    visitor.settled()
    evil = f"{EVIL} </span> \u202eабв"
    page.locator("#wm-reference").fill(evil)
    until(page, "WM.slices.clip.reference.includes('alert(2)')")
    for session in served.workshop.sessions._by_owner.values():
        result = session.get("result")
        words = [{"t": word, "s": 0.0, "e": 0.5} for word in evil.split()]
        slots = [
            {"a": i, "merged": i, "b": i, "am": True, "bm": False, "same": False} for i in range(len(words))
        ]
        badges = [{"title": {"ru": evil, "en": evil}, "evidence": evil}]
        side = {**result["a"], "text": evil, "words": words, "badges": badges}
        session.publish(result={**result, "a": side, "merged": side, "b": side, "slots": slots})
    until(page, "document.querySelector('[data-text=merged]').innerText.includes('${alert(1)}')")
    shown = visitor.text("merged")
    assert "<img" in shown and "</span>" in shown
    assert page.locator(".wm-grid img").count() == 0


def test_names_of_models_and_files_show_as_text(visit: Visit, tmp_path_factory: pytest.TempPathFactory) -> None:
    visitor = visit()
    visitor.settled()
    page = visitor.page
    page.locator('[data-focus="model-b"]').click()
    page.locator(".wm-option", has_text="onerror").click()
    until(page, "WM.slices.models.roles.b.ref.includes('onerror')")
    visitor.settled()
    assert EVIL in page.locator('[data-focus="model-b"]').inner_text()
    assert EVIL in page.locator("#wm-sentence").inner_text()
    sound = write_tone(tmp_path_factory.mktemp("evil") / "x.wav", pitch=290.0).read_bytes()
    page.locator('input[type="file"]').first.set_input_files(
        {"name": f"{EVIL}.wav", "mimeType": "audio/wav", "buffer": sound}
    )
    until(page, "WM.slices.clips.shelf.length === 1")
    visitor.settled()
    assert page.locator(".wm-player b").inner_text() == f"{EVIL}.wav"
    for tab in ("history", "sweep", "export", "blind"):
        page.evaluate(f"WM.show('{tab}')")
        until(page, "WM.pending === 0")
    assert page.locator(".wm-island img").count() == 0


def test_english_by_a_toggle(visit: Visit) -> None:
    visitor = visit()
    visitor.settled()
    visitor.page.get_by_role("link", name="Switch to English").click()
    until(visitor.page, "document.documentElement.lang === 'en'")
    visitor.ready()
    visitor.settled()
    assert visitor.page.get_by_role("tab", name="Listen").is_visible()
    sentence = visitor.page.locator("#wm-sentence").inner_text()
    assert "encoder" in sentence


def test_a_link_carries_a_recipe(visit: Visit) -> None:
    visitor = visit('/?lang=ru&recipe={"method":"slerp","parameters":{"slerp_t":0.3}}')
    until(visitor.page, "WM.slices.recipe?.method === 'slerp'")
    visitor.settled()
    assert visitor.page.evaluate("WM.slices.recipe.parameters.slerp_t") == 0.3
    assert "recipe=" not in visitor.page.evaluate("location.search"), "a reload must not undo what was changed since"


def test_three_people_at_once(visit: Visit) -> None:
    people = [visit() for _ in range(3)]
    for alpha, visitor in zip((1, 0, 0.5), people, strict=True):
        visitor.page.evaluate(
            "alpha => WM.mixer.set({method: 'direct', parameters: {direct_alpha: alpha}, parts: undefined})", alpha
        )
    for visitor in people:
        visitor.settled()
    assert people[0].text("merged") == people[0].text("a")
    assert people[1].text("merged") == people[1].text("b")
    assert [visitor.page.evaluate("WM.slices.recipe.parameters.direct_alpha") for visitor in people] == [1, 0, 0.5]


def test_a_phone_has_one_column_and_a_sheet(visit: Visit) -> None:
    visitor = visit(viewport={"width": 375, "height": 760})
    visitor.settled()
    page = visitor.page
    assert page.evaluate("document.documentElement.scrollWidth") <= 375
    assert page.locator(".wm-column:visible").count() == 1
    assert not page.locator(".wm-mixer").is_visible()
    page.locator(".wm-sheet-handle").click()
    assert page.locator(".wm-mixer").is_visible()
    page.locator(".wm-sheet-handle").click()
    page.locator('[data-focus="show-a"]').click()
    assert page.locator('.wm-column[data-role="a"]').is_visible()
    small = page.evaluate(
        "[...document.querySelectorAll('.wm-island button, .wm-island select')].filter(b => b.offsetParent"
        " && !b.closest('.wm-text, .wm-lane, .wm-column header') && b.getBoundingClientRect().height < 43)"
        ".map(b => b.outerHTML.slice(0, 90))"
    )
    assert small == []
