"""A third model, the shelf, and a phone in one hand: what came after the first screens, in a real browser."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.browser.conftest import LOOP, Served, Visitor
from tests.browser.test_screens import serious
from tests.browser.waiting import until
from tests.ui.conftest import EVIL
from ui.sessions import owner_of

Visit = Callable[..., Visitor]
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}


def test_a_third_model_by_keyboard_alone(visit: Visit) -> None:
    visitor = visit()
    visitor.settled()
    page = visitor.page
    assert page.locator('[data-focus="add-model"]').count() == 0, "two-model methods offer no third"
    page.locator('[data-focus="more-methods"]').select_option("linear")
    page.locator('[data-focus="add-model"]').focus()
    page.keyboard.press("Enter")
    page.locator(".wm-dialog[open] .wm-option", has_text="onerror").focus()
    page.keyboard.press("Enter")
    until(page, "WM.slices.models.roles.c")
    visitor.settled()
    assert EVIL in page.locator('[data-focus="model-c"]').inner_text()
    assert EVIL in page.locator("#wm-sentence").inner_text() and page.locator(".wm-island img").count() == 0
    slider = page.locator('[data-focus="wm-p-weights-c"]')
    slider.focus()
    page.keyboard.press("End")
    until(page, "WM.slices.recipe.parameters.weights?.[2] === 1")
    visitor.settled()
    assert page.evaluate("document.activeElement.dataset.focus") == "wm-p-weights-c"
    assert "60" in slider.get_attribute("aria-valuetext"), "1 of 0.3333 + 0.3333 + 1 is 60 %"
    assert serious(page) == []
    page.locator('[data-focus="wm-p-weights-even"]').click()
    until(page, "WM.slices.recipe.parameters.weights === null")
    page.locator('[data-focus="method-direct"]').click()
    until(page, "WM.slices.recipe.method === 'direct'")
    visitor.settled()
    assert "C не участвует" in page.locator(".wm-models").inner_text()
    page.locator('[data-focus="remove-c"]').click()
    until(page, "!WM.slices.models.roles.c")


def test_a_copied_link_opens_the_same_three_models(visit: Visit) -> None:
    ann = visit()
    ann.settled()
    ann.page.evaluate("WM.mixer.set({method: 'linear', parameters: {weights: null}, parts: undefined})")
    ann.page.evaluate("WM.call('models.choose', {role: 'c', ref: 'base'})")
    until(ann.page, "WM.slices.recipe.json.sources.c === 'base'")
    ann.page.get_by_role("button", name="Скопировать ссылку с этим рецептом").click()
    until(ann.page, "navigator.clipboard.readText().then((text) => text.includes('recipe='))")
    link = ann.page.evaluate("navigator.clipboard.readText()")
    bob = visit("/" + link.split("/", 3)[3])
    until(bob.page, "WM.slices.recipe?.method === 'linear' && WM.slices.models.roles.c?.ref === 'base'")
    bob.settled()
    missing = visit('/?lang=ru&recipe={"method":"direct","parameters":{},"sources":{"a":"a","b":"/nowhere"}}')
    missing.page.wait_for_selector(".wm-toast-note")
    assert "/nowhere" in missing.page.locator(".wm-toast-note").inner_text()
    missing.settled()


def test_an_icon_keeps_the_focus_when_its_row_is_drawn_anew(visit: Visit) -> None:
    visitor = visit()
    visitor.settled()
    page = visitor.page
    page.locator('[data-focus="method-slerp"]').click()
    until(page, "WM.slices.recipe.can_undo")
    visitor.settled()
    page.get_by_role("button", name="Отменить (Z)").focus()
    page.keyboard.press("Enter")
    until(page, "WM.slices.recipe.method === 'ties' && WM.slices.recipe.can_redo")
    visitor.settled()
    page.get_by_role("button", name="Вернуть", exact=True).focus()
    page.keyboard.press("Enter")
    until(page, "WM.slices.recipe.method === 'slerp'")
    visitor.settled()
    assert page.evaluate("document.activeElement.tagName") in {"BUTTON", "BODY"}
    page.get_by_role("button", name="Значения руководства для этого метода").focus()
    page.keyboard.press("Enter")
    visitor.settled()
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "Значения руководства для этого метода"


def test_the_shelf_says_what_was_heard_by_this_recipe(visit: Visit, served: Served) -> None:
    visitor = visit()
    visitor.settled()
    page = visitor.page
    page.locator('[data-focus="hear-all"]').click()
    count = len(served.workshop.clips.samples)
    until(
        page,
        "n => Object.values(WM.slices.heard ?? {}).filter(one => one.key === WM.slices.recipe.key).length === n",
        arg=count,
    )
    visitor.settled()
    assert page.locator(".wm-clip", has_text="✓").count() == count
    assert page.locator('[data-focus="hear-all"]').is_disabled(), "all of them are fresh"
    page.evaluate("WM.mixer.set({method: 'direct', parameters: {direct_alpha: 0.437}, parts: undefined})")
    until(page, "n => document.querySelectorAll('.wm-clip').length === n", arg=count)
    visitor.settled()
    assert page.locator(".wm-clip", has_text="устарело").count() == count - 1
    assert serious(page) == []


def test_texts_stay_closed_while_a_blind_vote_is_on(visit: Visit) -> None:
    visitor = visit()
    visitor.settled()
    page = visitor.page
    page.evaluate("WM.call('blind.new')")
    until(page, "WM.slices.blind?.texts || WM.slices.blind?.alike")
    if page.evaluate("Boolean(WM.slices.blind.alike)"):
        pytest.skip("the tiny pair wrote the same everywhere")
    page.evaluate("WM.show('listen')")
    assert page.locator(".wm-column .wm-word, .wm-lane button").count() == 0
    assert "вслепую" in page.locator('[data-text="merged"]').inner_text()
    page.evaluate("WM.call('clips.choose', {id: WM.slices.clips.samples.find(c => c.id !== WM.slices.clip.id).id})")
    visitor.settled()
    assert page.locator(".wm-column .wm-word").count() > 0, "another recording is open"


def test_one_thumb_plays_moves_the_slider_and_reads(visit: Visit) -> None:
    visitor = visit("/?lang=ru", **PHONE)
    visitor.settled()
    page = visitor.page
    play = page.locator(".wm-bottom-play")
    box = play.bounding_box()
    assert box["height"] >= 44 and box["width"] >= 44 and box["y"] + box["height"] <= 844, "in reach without scrolling"
    page.evaluate(LOOP)
    play.tap()
    until(page, "document.querySelector('.wm-bottom-play').getAttribute('aria-label') === 'Пауза'")
    assert page.evaluate("!WM.player.paused")
    page.evaluate("WM.player.pause()")
    page.locator(".wm-sheet-handle").tap()
    page.locator('[data-focus="method-direct"]').tap()
    until(page, "WM.slices.recipe.method === 'direct'")
    visitor.settled()
    slider = page.locator("#wm-p-direct_alpha")
    slider.scroll_into_view_if_needed()
    box = slider.bounding_box()
    page.touchscreen.tap(box["x"] + 2, box["y"] + box["height"] / 2)  # the left end is A
    until(page, "WM.slices.recipe.parameters.direct_alpha > 0.9")
    visitor.settled()
    assert page.locator(".wm-sheet-text").is_visible()
    read = page.locator(".wm-sheet-text p").inner_text()
    assert read.split() == page.evaluate("WM.slices.result.merged.text").split()
    small = page.evaluate(
        "[...document.querySelectorAll('.wm-mixer :is(button, select, input[type=range])')].filter(b => b.offsetParent"
        " && b.getBoundingClientRect().height < 43).map(b => b.outerHTML.slice(0, 90))"
    )
    assert small == []
    assert serious(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_screen_in_english_and_what_is_out_of_date(visit: Visit, served: Served, theme: str) -> None:
    visitor = visit(f"/?lang=en&__theme={theme}")
    visitor.settled()
    page = visitor.page
    faults = {}
    share = {"light": 0.4443, "dark": 0.4447}[theme]
    served.hold()
    page.evaluate(f"WM.mixer.set({{method: 'direct', parameters: {{direct_alpha: {share}}}, parts: undefined}})")
    page.wait_for_selector(".wm-stale .wm-stale-note")
    faults["stale"] = serious(page)
    served.release()
    visitor.settled()
    for tab in page.evaluate("[...document.querySelectorAll('.wm-tab')].map(tab => tab.id.slice('wm-tab-'.length))"):
        visitor.show(tab)
        faults[tab] = serious(page)
    assert len(faults) >= 8 and {tab: found for tab, found in faults.items() if found} == {}


def test_a_model_that_could_not_be_fetched_is_told_beside_those_that_stay(visit: Visit, served: Served) -> None:
    visitor = visit()
    visitor.settled()
    page, session = visitor.page, served.workshop.session(owner_of(visitor.page.evaluate("WM.owner")))
    failed = {"sentence": {"ru": "Модель не найдена: <b>", "en": "No such model: <b>"}, "remedy": None}
    session.publish(models={**session.get("models"), "failed": failed})
    told = page.locator('.wm-models .wm-verdict[role="alert"]')
    told.wait_for()
    assert "Модель не найдена: <b>" in told.inner_text()
    assert page.locator('.wm-models .wm-verdict[data-state="ok"]').is_visible()
    assert serious(page) == []
    page.evaluate("WM.call('models.choose', {role: 'b', ref: 'b'})")
    told.wait_for(state="detached")
