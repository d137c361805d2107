"""On a ZeroGPU Space the page's own calls carry the visitor's quota, as Hugging Face's page gives it; others do not."""

from typing import Any

import pytest

from ui import zero_gpu

HOME, SPACE = "https://huggingface.co/", "https://lab-whisper-merge.hf.space/"
# Hugging Face's page around the Space: it answers a question that comes with a port.
AROUND = """<iframe src="%s"></iframe><script>
addEventListener("message", (event) => {
  if (event.data === "zerogpu-headers") event.ports[0].postMessage({ "x-ip-token": "visitor-7" });
});
</script>"""
CALLS = """async () => {
  await fetch("/gradio_api/component_server", { method: "POST", headers: { "x-own": "kept" }, body: "{}" });
  await fetch("/elsewhere");
  return true;
}"""


def calls(browser: Any, framed: bool, supported: bool) -> dict[str, dict[str, str]]:
    """Path → headers of the two calls of a Space's page."""
    page, seen = browser.new_page(), {}

    def answer(route: Any) -> None:
        address = route.request.url
        if address == HOME:
            route.fulfill(body=AROUND % SPACE, content_type="text/html")
        elif address == SPACE:
            route.fulfill(body=f"<!doctype html>{zero_gpu.head()}", content_type="text/html")
        else:
            seen[address.rsplit("/", 1)[-1]] = route.request.headers
            route.fulfill(body="{}", content_type="application/json")

    page.route("**/*", answer)
    page.goto(HOME if framed else SPACE)
    frame = next(one for one in page.frames if one.url == SPACE)
    frame.wait_for_load_state()
    frame.evaluate(f"window.supports_zerogpu_headers = {'true' if supported else 'false'}")
    assert frame.evaluate(CALLS)
    page.close()
    return seen


def test_the_pages_calls_carry_the_quota(browser: Any) -> None:
    seen = calls(browser, framed=True, supported=True)
    assert seen["component_server"]["x-ip-token"] == "visitor-7"
    assert seen["component_server"]["x-own"] == "kept"
    assert "x-ip-token" not in seen["elsewhere"]


@pytest.mark.parametrize(("framed", "supported"), [(True, False), (False, True)])
def test_without_hugging_faces_page_calls_go_as_they_are(browser: Any, framed: bool, supported: bool) -> None:
    seen = calls(browser, framed, supported)
    assert "x-ip-token" not in seen["component_server"]
    assert seen["component_server"]["x-own"] == "kept"
