"""The policy is in force on every screen, nothing of the page breaks it, and what is smuggled in does not run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.browser.waiting import until

Visit = Callable[..., Any]

LISTEN = """() => {
  window.broken = [];
  const note = (one) => window.broken.push(`${one.violatedDirective} ${one.blockedURI}`);
  document.addEventListener("securitypolicyviolation", note);
}"""
SMUGGLED = """() => {
  window.ran = [];
  const put = (html) => { const box = document.createElement("div"); box.innerHTML = html; document.body.append(box); };
  put('<img src="x:" onerror="window.ran.push(1)">');
  put('<a id="smuggled" href="javascript:window.ran.push(2)">x</a>');
  document.getElementById("smuggled").click();
  const script = document.createElement("script");
  script.textContent = "window.ran.push(3)";
  document.body.append(script);
  const foreign = document.createElement("script");
  foreign.src = "data:text/javascript,window.ran.push(4)";
  document.body.append(foreign);
  return new Promise((done) => setTimeout(done, 500));
}"""


def test_every_screen_keeps_the_policy(visit: Visit) -> None:
    visitor = visit("/?lang=ru")
    page = visitor.page
    page.evaluate(LISTEN)
    tabs = page.locator("[role=tab]")
    assert tabs.count() >= 6
    for number in range(tabs.count()):
        tabs.nth(number).click()
        page.wait_for_timeout(150)
    assert page.evaluate("window.broken") == []
    assert visitor.faults == []


def test_what_is_smuggled_into_the_page_does_not_run(visit: Visit) -> None:
    visitor = visit("/?lang=ru")
    page = visitor.page
    page.evaluate(LISTEN)
    page.evaluate(SMUGGLED)
    until(page, "window.broken.length >= 4")
    assert page.evaluate("window.ran") == []
    visitor.faults.clear()  # the browser says of each that it was refused
