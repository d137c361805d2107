"""What is done on the page arrives as it was done: in order, for what it was meant, and not lost on the way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.browser.conftest import Served, Visitor
from tests.browser.waiting import until

Visit = Callable[..., Visitor]
ASKED = "**/component_server/"
LINK = '/?lang=ru&recipe={"method":"slerp","parameters":{"slerp_t":0.3}}'


def held_back(page: Any, action: str) -> list[Any]:
    """The first request for this action stays on its way until it is continued; it appears in the list."""
    held: list[Any] = []

    def pass_on(route: Any) -> None:
        if not held and f'"action":"{action}"' in (route.request.post_data or ""):
            held.append(route)
        else:
            route.continue_()

    page.route(ASKED, pass_on)
    return held


def until_held(page: Any, held: list[Any]) -> None:
    while not held:
        page.wait_for_timeout(10)


def test_an_older_position_of_a_slider_does_not_arrive_last(visit: Visit) -> None:
    visitor = visit()
    visitor.settled()
    page = visitor.page
    held = held_back(page, "mixer.set")
    page.evaluate(
        "() => { for (const share of [0.15, 0.45, 0.85]) window.last ="
        " WM.mixer.set({method: 'direct', parameters: {direct_alpha: share}, parts: undefined}); }"
    )
    until_held(page, held)
    page.evaluate("new Promise((done) => setTimeout(done, 500))")  # time enough for the later ones to overtake it
    held[0].continue_()
    page.evaluate("window.last")
    visitor.settled()
    assert page.evaluate("WM.slices.recipe.parameters.direct_alpha") == 0.85
    assert float(page.locator("#wm-p-direct_alpha").input_value()) == 0.85


def test_an_undo_comes_after_the_move_before_it(visit: Visit) -> None:
    visitor = visit()
    visitor.settled()
    page = visitor.page
    page.locator('[data-focus="method-direct"]').click()
    until(page, "WM.slices.recipe.method === 'direct'")
    visitor.settled()
    page.evaluate(
        "() => { const slider = document.getElementById('wm-p-direct_alpha'); slider.value = 0.7;"
        " slider.dispatchEvent(new Event('input', {bubbles: true})); WM.keys.KeyZ(); }"
    )
    until(page, "WM.slices.recipe.can_redo")
    visitor.settled()
    assert page.evaluate("WM.slices.recipe.parameters.direct_alpha") == 0.5


def test_what_was_said_goes_to_the_recording_it_was_typed_for(visit: Visit, served: Served) -> None:
    visitor = visit()
    visitor.settled()
    page = visitor.page
    first, second = (clip.id for clip in served.workshop.clips.samples[:2])
    held = held_back(page, "listen.reference")
    page.locator("#wm-reference").fill("сказано в первой")
    page.locator(f'[data-focus="clip-{second}"]').click()
    until(page, "id => WM.slices.clip.id === id", arg=second)
    until_held(page, held)
    held[0].continue_()
    visitor.settled()
    assert page.locator("#wm-reference").input_value() == "Вторая"
    page.locator(f'[data-focus="clip-{first}"]').click()
    until(page, "id => WM.slices.clip.id === id", arg=first)
    assert page.locator("#wm-reference").input_value() == "сказано в первой"


def test_a_link_outlives_a_connection_that_is_lost(visit: Visit, served: Served) -> None:
    visitor = visit()
    visitor.settled()
    page = visitor.page

    def lose(route: Any) -> None:
        if "mixer.paste" in (route.request.post_data or ""):
            route.abort()
        else:
            route.continue_()

    page.route(ASKED, lose)
    page.goto(served.address + LINK)
    page.wait_for_selector(".wm-toast-error")
    visitor.ready()
    until(page, "WM.pending === 0")
    assert "recipe=" in page.evaluate("location.search")
    page.unroute(ASKED)
    page.reload()
    until(page, "window.WM?.slices.recipe?.method === 'slerp'")
    until(page, "!location.search.includes('recipe=')")
    visitor.faults.clear()  # the browser says itself that a request was lost


def test_the_other_language_does_not_take_the_link_a_second_time(visit: Visit) -> None:
    visitor = visit(LINK)
    until(visitor.page, "WM.slices.recipe?.method === 'slerp'")
    visitor.settled()
    visitor.page.locator('[data-focus="method-direct"]').click()
    until(visitor.page, "WM.slices.recipe.method === 'direct'")
    visitor.settled()
    visitor.page.get_by_role("link", name="Switch to English").click()
    until(visitor.page, "document.documentElement.lang === 'en'")
    visitor.ready()
    visitor.settled()
    assert visitor.page.evaluate("WM.slices.recipe.method") == "direct"
