"""What a hand or an eye must find where it looks: messages, the text, the switch, and what does not move."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.browser.conftest import Served, Visitor
from tests.browser.waiting import until
from tests.ui.conftest import write_tone

Visit = Callable[..., Visitor]
PHONE = {"viewport": {"width": 390, "height": 844}}
DESK = {"viewport": {"width": 1440, "height": 900}}
TABS = ("listen", "blind", "sweep", "evaluation", "history", "export", "map", "help")


def box(page: Any, selector: str) -> dict[str, float]:
    found: dict[str, float] = page.locator(selector).first.bounding_box()
    return {**found, "bottom": found["y"] + found["height"], "right": found["x"] + found["width"]}


def test_on_a_phone_the_merges_text_is_there_without_scrolling(visit: Visit) -> None:
    visitor = visit("/?lang=ru", **PHONE)
    visitor.settled()
    page = visitor.page
    assert box(page, '.wm-column[data-role="merged"] .wm-word')["bottom"] <= box(page, ".wm-strip")["y"]


def test_a_message_stands_before_the_open_mixer_of_a_phone(visit: Visit) -> None:
    visitor = visit("/?lang=ru", **PHONE)
    visitor.settled()
    page = visitor.page
    page.locator(".wm-sheet-handle").click()
    number = page.locator(".wm-mixer .wm-number").first
    number.fill("7")
    number.press("Enter")
    toast = page.locator(".wm-toast-error")
    toast.wait_for()
    assert "--" not in toast.inner_text(), "a person typed into a box, not on a command line"
    close = toast.get_by_role("button")
    close.click()  # Playwright presses only what nothing lies over
    toast.wait_for(state="detached")


def test_a_long_text_pushes_the_sheet_down_and_does_not_run_into_it(visit: Visit) -> None:
    visitor = visit("/?lang=ru", **PHONE)
    visitor.settled()
    page = visitor.page
    page.locator(".wm-sheet-handle").click()
    told = "'Представляешь, что вчера случилось. '.repeat(9)"
    page.evaluate(f"document.querySelector('.wm-sheet-text p').textContent = {told}")
    assert box(page, ".wm-sheet-text p")["bottom"] <= box(page, ".wm-sheet-text")["bottom"]


def test_the_mixer_ends_above_the_strip_and_shows_its_switch_on_every_screen(visit: Visit) -> None:
    visitor = visit("/?lang=ru", **DESK)
    visitor.settled()
    page = visitor.page
    assert page.evaluate("WM.slices.recipe.method") == "ties", "the tallest of the guide's methods"
    for tab in TABS:
        page.evaluate("tab => WM.show(tab)", tab)
        strip = box(page, ".wm-strip")["y"]
        assert box(page, "#wm-side")["bottom"] <= strip, tab
        assert box(page, '[data-focus="live"]')["bottom"] <= strip, tab
        assert page.locator('[data-focus="live"]').is_visible()


def test_a_note_that_is_being_typed_outlives_a_new_experiment(visit: Visit) -> None:
    visitor = visit("/?lang=ru", **DESK)
    visitor.settled()
    page = visitor.page
    visitor.show("history")
    note = page.locator(".wm-note-field").first
    note.press_sequentially("ждёт слова")
    for _ in "слова":
        page.keyboard.press("ArrowLeft")
    count = page.locator(".wm-entry").count()
    page.evaluate("WM.mixer.set({method: 'direct', parameters: {direct_alpha: 0.61}, parts: undefined})")
    until(page, "count => document.querySelectorAll('.wm-entry').length > count", arg=count)
    visitor.settled()
    page.keyboard.type("нового ")
    assert page.evaluate("document.activeElement.value") == "ждёт нового слова"
    page.keyboard.press("Enter")
    until(page, "WM.pending === 0")
    kept = "[...document.querySelectorAll('.wm-note-field')].map((field) => field.value)"
    assert sorted(page.evaluate(kept)) == ["", "ждёт нового слова"]


def test_what_fine_tuning_opens_is_in_sight(visit: Visit) -> None:
    visitor = visit("/?lang=ru", **DESK)
    visitor.settled()
    page = visitor.page
    page.locator(".wm-fine > summary").click()
    edges = "document.querySelector('.wm-fine input').getBoundingClientRect().bottom"
    until(page, f"{edges} <= document.querySelector('.wm-tools-row').getBoundingClientRect().top")
    assert box(page, ".wm-fine > summary")["y"] >= box(page, "#wm-side")["y"]


def test_a_typed_number_survives_a_wrong_one_to_its_last_digit(visit: Visit) -> None:
    visitor = visit()
    visitor.settled()
    page = visitor.page
    number = page.locator('[data-focus="wm-p-ties_density-n"]')
    number.fill("0,823")
    number.press("Enter")
    until(page, "WM.slices.recipe.parameters.ties_density === 0.823 && WM.pending === 0")
    visitor.settled()
    number.fill("seven")
    number.press("Enter")
    page.locator(".wm-toast-error").wait_for()
    assert number.input_value() == "0,823"


def test_samples_open_in_rows_fold_again_and_keep_their_width(visit: Visit, served: Served) -> None:
    visitor = visit("/?lang=ru", **DESK)
    visitor.settled()
    page = visitor.page
    every, chips = page.locator('[data-focus="all-samples"]'), page.locator(".wm-samples .wm-clip")
    last = chips.count() - 1
    assert every.get_attribute("aria-expanded") == "false"
    widths = "[...document.querySelectorAll('.wm-samples .wm-clip')].map(one => one.offsetWidth)"
    before = page.evaluate(widths)
    every.click()
    page.wait_for_selector('.wm-shelf[data-open="true"]')
    chips.nth(last).click()
    page.wait_for_selector('.wm-shelf[data-open="false"]')
    visitor.settled()
    assert "WER" in chips.nth(last).inner_text()
    assert page.evaluate(widths) == before, "a result makes no sample wider"


def test_samples_are_one_stop_of_the_tab_key_and_arrows_walk_among_them(visit: Visit) -> None:
    visitor = visit()
    visitor.settled()
    page = visitor.page
    stops = "document.querySelectorAll('.wm-samples .wm-clip:not([tabindex=\"-1\"])').length"
    assert page.evaluate(stops) == 1
    page.locator(".wm-samples .wm-clip").first.focus()
    page.keyboard.press("ArrowRight")
    place = "[...document.querySelectorAll('.wm-samples .wm-clip')].indexOf(document.activeElement)"
    assert page.evaluate(place) == 1 and page.evaluate(stops) == 1
    page.keyboard.press("Home")
    assert page.evaluate(place) == 0


def test_what_cannot_be_brought_back_is_asked_about(visit: Visit) -> None:
    visitor = visit()
    visitor.settled()
    page = visitor.page
    page.locator("#wm-tab-history").click()
    page.wait_for_selector(".wm-entry")
    count = page.locator(".wm-entry").count()
    away = page.locator('[data-focus^="delete-"]').first
    away.click()
    assert away.inner_text() == "Удалить?" and page.locator(".wm-entry").count() == count
    page.locator("#wm-tab-history").focus()  # the eye went elsewhere: it asks again
    assert away.inner_text() == ""
    away.click()
    away.click()
    until(page, "count => document.querySelectorAll('.wm-entry').length === count - 1", arg=count)


def test_the_first_steps_go_with_the_screen_and_not_from_under_the_hand(visit: Visit) -> None:
    visitor = visit()
    visitor.settled()
    page = visitor.page
    page.locator(".wm-samples .wm-clip").nth(1).click()
    visitor.settled()
    page.locator('[data-focus="wm-p-ties_density"]').focus()
    page.keyboard.press("ArrowLeft")
    page.wait_for_selector('.wm-tour:not([hidden]) .wm-tour-lead:has-text("Готово")')
    page.evaluate("WM.show('help')")
    page.evaluate("WM.show('listen')")
    assert page.locator(".wm-tour").is_hidden()


def test_names_told_after_a_blind_vote_move_no_text(visit: Visit) -> None:
    visitor = visit("/?lang=ru", **DESK)
    visitor.settled()
    page = visitor.page
    page.locator("#wm-tab-blind").click()
    page.get_by_role("button", name="Начать").click()
    page.wait_for_selector(".wm-cardlet")
    page.evaluate("WM.player.toggle()")
    page.wait_for_selector('[data-focus="vote-0"]:not([disabled])')
    places = (  # within the cards: a click may scroll the page
        "[...document.querySelectorAll('.wm-cardlet')].map(one =>"
        " one.querySelector('.wm-said').getBoundingClientRect().top - one.getBoundingClientRect().top)"
    )
    before = page.evaluate(places)
    page.locator('[data-focus="vote-0"]').click()
    page.wait_for_selector('.wm-cardlet[data-won="true"]')
    assert page.evaluate(places) == pytest.approx(before, abs=0.1)


def test_what_a_search_found_is_the_contents(visit: Visit) -> None:
    visitor = visit()
    visitor.settled()
    page = visitor.page
    page.locator("#wm-tab-help").click()
    page.wait_for_selector(".wm-toc button")
    page.get_by_role("searchbox").last.fill("conda")
    page.wait_for_selector(".wm-article mark")
    headings = page.locator(".wm-article :is(h2, h3, h4)").all_inner_texts()
    assert headings and page.locator(".wm-toc button").all_inner_texts() == headings


def test_the_map_of_a_phone_keeps_its_headings_apart(visit: Visit) -> None:
    visitor = visit("/?lang=ru", **PHONE)
    visitor.settled()
    page = visitor.page
    page.evaluate("WM.show('map')")
    page.locator('[data-focus="measure"]').click()
    page.wait_for_selector(".wm-heat button")
    crushed = "[...document.querySelectorAll('.wm-heat th')].filter(one => one.scrollWidth > one.clientWidth).length"
    assert page.evaluate(crushed) == 0
    cut = crushed.replace(".wm-heat th", ".wm-maps .wm-scroll")
    assert page.evaluate(cut) == 0, "every column is in sight"


@pytest.mark.parametrize(("lang", "told"), [("ru", "2\u00a0мин\u00a023\u00a0с"), ("en", "2\u00a0min\u00a023\u00a0s")])
def test_long_times_carry_their_units(visit: Visit, lang: str, told: str) -> None:
    assert visit(f"/?lang={lang}").page.evaluate("WM.seconds(143)") == told


def test_a_sweep_that_was_started_comes_into_sight(visit: Visit, served: Served) -> None:
    visitor = visit("/?lang=ru", **PHONE)
    visitor.settled()
    page = visitor.page
    page.evaluate("WM.show('sweep')")
    served.hold()
    page.locator('[data-focus="kind-t"]').click()
    page.wait_for_selector('[data-focus="stop-sweep"]')
    until(page, "WM.pending === 0")
    seen = "document.querySelector('[data-focus=\"stop-sweep\"]').getBoundingClientRect().bottom"
    until(page, f"{seen} <= document.querySelector('.wm-strip').getBoundingClientRect().top")
    page.locator('[data-focus="stop-sweep"]').click()
    served.release()
    until(page, "!['queued', 'running'].includes(WM.slices.sweep.job.state)")


def test_recordings_are_dropped_on_the_card(visit: Visit, tmp_path: Path) -> None:
    visitor = visit("/?lang=ru", **DESK)
    visitor.settled()
    sound = write_tone(tmp_path / "tone.wav", seconds=1.0, rate=16_000).read_bytes()
    marked = visitor.page.evaluate(
        """sound => { const card = document.querySelector('.wm-source'), files = new DataTransfer();
        for (const name of ['первая.wav', 'вторая.wav'])
          files.items.add(new File([new Uint8Array(sound)], name, { type: 'audio/wav' }));
        const letGo = kind => card.dispatchEvent(new DragEvent(kind, { dataTransfer: files, cancelable: true }));
        const refused = [letGo('dragover')], marks = [card.classList.contains('wm-drop')];
        refused.push(letGo('drop'));
        return [...refused, ...marks, card.classList.contains('wm-drop')]; }""",
        list(sound),
    )
    assert marked == [False, False, True, False], "the browser is kept from opening the files; the card says where"
    until(visitor.page, "WM.slices.clips.shelf.length >= 1 && WM.pending === 0")
    visitor.settled()
