"""What somebody set, cleared or mistyped is there to come back to; the question mark on any layout."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.browser.conftest import Visitor
from tests.browser.waiting import until

Visit = Callable[..., Visitor]


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
