"""What somebody set, cleared, mistyped or left is there to come back to; keys and sound lead through a long text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest

from tests.browser.conftest import Visitor
from tests.browser.waiting import until

Visit = Callable[..., Visitor]
COLUMN = ".wm-column[data-role=merged] .wm-text"


def test_a_cleared_reference_of_a_sample_can_be_brought_back(visit: Visit) -> None:
    visitor = visit()
    visitor.settled()
    page = visitor.page
    words = page.evaluate("WM.slices.clip.reference")
    restore = page.locator('[data-focus="reference-restore"]')
    assert words and not restore.is_visible()
    page.locator(".wm-judge").get_by_role("button", name="Очистить").click()
    until(page, "WM.slices.clip.reference === null")
    page.reload()
    visitor.settled()
    assert page.locator("#wm-reference").input_value() == ""
    restore.click()
    until(page, f"WM.slices.clip.reference === {words!r}")
    assert page.locator("#wm-reference").input_value() == words
    assert not restore.is_visible()


def test_methods_keep_what_was_set_with_them(visit: Visit) -> None:
    visitor = visit()
    visitor.settled()
    page = visitor.page
    page.locator('[data-focus="method-slerp"]').click()
    until(page, "WM.slices.recipe.method === 'slerp'")
    page.locator("#wm-p-slerp_t").focus()
    page.keyboard.press("ArrowRight")
    until(page, "WM.slices.recipe.parameters.slerp_t > 0.5")
    page.get_by_role("radio", name="Direct").click()
    until(page, "WM.slices.recipe.method === 'direct'")
    page.locator('[data-focus="method-slerp"]').click()
    until(page, "WM.slices.recipe.method === 'slerp'")
    assert page.evaluate("WM.slices.recipe.parameters.slerp_t") == pytest.approx(0.55)
    visitor.settled()


def test_a_model_that_is_not_there_leaves_the_dialog_open_with_the_reason(visit: Visit) -> None:
    visitor = visit()
    visitor.settled()
    page = visitor.page
    page.locator('[data-focus="model-a"]').click()
    typed = page.locator("dialog input[type=text]")
    typed.fill("/нет/такой папки")
    typed.press("Enter")
    until(page, "document.querySelector('dialog[open] [role=alert]')?.hidden === false")
    assert typed.input_value() == "/нет/такой папки"
    assert len(page.locator("dialog [role=alert]").inner_text()) > 20
    page.keyboard.press("Escape")


def test_the_question_mark_of_a_russian_layout(visit: Visit) -> None:
    visitor = visit()
    visitor.settled()
    pressed = "{key: '?', code: 'Digit7', shiftKey: true, bubbles: true}"
    visitor.page.evaluate(f"document.dispatchEvent(new KeyboardEvent('keydown', {pressed}))")
    until(visitor.page, "document.querySelector('dialog[open]') !== null")


def test_back_goes_to_the_screen_before_and_closes_the_mixer_of_a_phone(visit: Visit) -> None:
    visitor = visit("/?lang=ru", viewport={"width": 390, "height": 844})
    visitor.settled()
    page = visitor.page
    screen = "document.body.dataset.wmTab"
    page.get_by_role("tab", name="История").click()
    until(page, f"{screen} === 'history'")
    page.get_by_role("tab", name="Слушать").click()
    until(page, f"{screen} === 'listen'")
    page.locator(".wm-sheet-handle").click()
    opened = "document.querySelector('.wm-mixer').dataset.open"
    until(page, f"{opened} === 'true'")
    page.go_back()
    until(page, f"{opened} === 'false' && {screen} === 'listen'")
    page.go_back()
    until(page, f"{screen} === 'history'")
    page.go_forward()
    until(page, f"{screen} === 'listen'")
    page.locator(".wm-sheet-handle").click()
    until(page, f"{opened} === 'true'")
    page.keyboard.press("Escape")
    until(page, f"{opened} === 'false'")
    assert page.url.startswith("http"), "the page was left"


def with_a_long_text(visitor: Visitor) -> Any:
    """The page with forty words in the merge's column, a second each; the tiny models write one or two."""
    visitor.settled()
    page = visitor.page
    page.evaluate(
        """() => {
            const { result } = WM.slices;
            result.slots = [];
            result.merged.words = Array.from({ length: 40 }, (_, i) => ({ t: `слово${i}`, s: i, e: i + 1 }));
        }"""
    )
    page.locator('[data-focus="only"]').click()  # draws anew
    words = page.locator(COLUMN + " button.wm-word")
    assert words.count() == 40
    return words


def test_a_text_is_one_stop_of_tab_and_its_words_are_reached_by_arrows(visit: Visit) -> None:
    visitor = visit()
    words, page = with_a_long_text(visitor), visitor.page
    stops = [words.nth(index).get_attribute("tabindex") for index in range(words.count())]
    assert stops == ["0"] + ["-1"] * 39
    words.first.focus()
    for key in ("ArrowLeft", "ArrowRight", "ArrowRight", "ArrowLeft"):
        page.keyboard.press(key)
    assert page.evaluate("[...document.querySelectorAll('.wm-word:focus')].map(one => one.dataset.index)") == ["1"]
    assert words.nth(1).get_attribute("tabindex") == "0" and words.first.get_attribute("tabindex") == "-1"
    page.keyboard.press("End")
    assert words.nth(39).get_attribute("tabindex") == "0"
    words.nth(7).focus()  # as a click does
    page.locator('[data-focus="lines"]').evaluate("one => one.click()")  # draws anew
    assert page.evaluate("[...document.querySelectorAll('.wm-word:focus')].map(one => one.dataset.index)") == ["7"]
    stops = page.evaluate(f"document.querySelectorAll('{COLUMN} .wm-word[tabindex=\"0\"]').length")
    assert stops == 1


def test_a_text_longer_than_its_column_goes_along_with_the_sound(visit: Visit) -> None:
    visitor = visit()
    with_a_long_text(visitor)
    page, text = visitor.page, f"document.querySelector('{COLUMN}')"
    page.evaluate(f"{text}.style.cssText = 'min-height: 0; max-height: 90px'")
    assert page.evaluate(f"{text}.scrollTop") == 0
    sounds = "document.dispatchEvent(new CustomEvent('wm-time', { detail: 30.5 }))"
    page.evaluate("Object.defineProperty(WM.player, 'paused', { get: () => false, configurable: true })")
    page.evaluate(f"{text}.dispatchEvent(new WheelEvent('wheel', {{ bubbles: true }})); {sounds}")
    assert page.evaluate(f"{text}.scrollTop") == 0, "a hand had just scrolled"
    page.evaluate("performance.now = () => 1e9")
    page.evaluate(sounds.replace("30.5", "39.5"))
    assert page.evaluate(f"{text}.scrollTop") > 0
    word, seen = (
        page.evaluate(f"(({{top, bottom}}) => [top, bottom])({one}.getBoundingClientRect())")
        for one in (f"{text}.querySelector('.wm-now')", text)
    )
    assert seen[0] <= word[0] < word[1] <= seen[1] + 1


def test_back_after_a_link_with_a_recipe_and_walks_with_the_arrows(visit: Visit) -> None:
    recipe = '{"method": "slerp", "parameters": {"slerp_t": 0.3}}'
    visitor = visit("/?lang=ru&recipe=" + quote(recipe))
    visitor.settled()
    page = visitor.page
    until(page, "WM.slices.recipe.method === 'slerp' && !location.search.includes('recipe')")
    screen, steps = "document.body.dataset.wmTab", page.evaluate("history.length")
    page.get_by_role("tab", name="Слушать").focus()
    for _ in range(4):
        page.keyboard.press("ArrowRight")
    assert page.evaluate("history.length") == steps, "walking along the tabs is no step"
    page.get_by_role("tab", name="Слушать").click()
    page.get_by_role("tab", name="История").click()
    until(page, f"{screen} === 'history'")
    page.go_back()
    until(page, f"{screen} === 'listen'")
