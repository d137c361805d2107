"""A server that refuses is not a server that is gone: the page says what it is told, and goes on by itself."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from merger.recipe import MergeRecipe
from tests.browser.conftest import Served, Visitor
from tests.browser.waiting import until

Visit = Callable[..., Visitor]


def test_too_many_requests_are_said_and_the_page_goes_on(
    visit: Visit, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ui.buckets import Buckets
    from ui.mixer import take
    from ui.sessions import owner_of

    visitor = visit()
    visitor.settled()
    page = visitor.page
    session = served.workshop.session(owner_of(page.evaluate("WM.owner")))
    with monkeypatch.context() as flooded:
        flooded.setattr(Buckets, "take", lambda self, name: 0.2)
        code = page.evaluate("WM.call('mixer.live', {live: false}).catch((fault) => fault.coded.code)")
        session.publish(job=session.get("job"))  # ends the question for news that is open; the next one is refused
        until(page, "document.querySelectorAll('.wm-toast').length >= 2")
        said = page.locator(".wm-toast").all_inner_texts()
        lost = page.evaluate("document.body.classList.contains('wm-lost')")
    assert code == "RATE_LIMITED" and not lost
    assert all("Слишком много запросов подряд." in one and "Подождите 1 с." in one for one in said)
    take(served.workshop, session, recipe=MergeRecipe.build("slerp", {"slerp_t": 0.25}))
    until(page, "WM.slices.recipe.method === 'slerp'")  # the page has asked again by itself
