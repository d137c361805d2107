"""Every screen: accessible, in one language, on desk and phone, and doing its work.

Longer than most files: one test per screen over one started server.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe

from merger.registry import methods
from tests.browser.conftest import Served, Visitor
from tests.browser.waiting import until

Visit = Callable[..., Visitor]
TABS = ("listen", "blind", "sweep", "evaluation", "history", "export", "map", "help")
# What people or models wrote, names of methods, files and keys: no words of the page's own language.
NOT_WORDS = "[lang=ru], code, pre, kbd, option, .wm-clip, .wm-player b, .wm-title, .wm-lane, .wm-check span, .wm-lang"


def serious(page: Any) -> list[str]:
    found = Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
    return [
        f"{one['id']}: {node['html'][:160]}"
        for one in found
        if one["impact"] in {"serious", "critical"}
        for node in one["nodes"]
    ]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_no_screen_has_a_serious_accessibility_fault(visit: Visit, theme: str) -> None:
    visitor = visit(f"/?lang=ru&__theme={theme}")
    visitor.settled()
    faults = {}
    for tab in TABS:
        visitor.show(tab)
        faults[tab] = serious(visitor.page)
    assert {tab: found for tab, found in faults.items() if found} == {}


def test_the_phone_has_no_serious_accessibility_fault(visit: Visit) -> None:
    visitor = visit("/?lang=ru", viewport={"width": 375, "height": 760})
    visitor.settled()
    visitor.page.locator(".wm-sheet-handle").click()
    assert serious(visitor.page) == []


@pytest.mark.parametrize(("lang", "foreign"), [("en", "[А-Яа-яЁё]{2,}"), ("ru", "[A-Za-z]{4,}")])
def test_every_screen_speaks_one_language(visit: Visit, lang: str, foreign: str) -> None:
    visitor = visit(f"/?lang={lang}")
    visitor.settled()
    page = visitor.page
    allowed = {
        "whisper", "merge", "SLERP", "TIES", "Direct", "Hugging", "Face", "English", "direct", "slerp", "ties",
        "Whisper",
        "Merging", "DARE", "Conda", "conda", "https", "localhost", "Alpha", "Density", "Encoder", "Decoder", "Weights",
        "Word", "Error", "Rate", "Character", "Task", "Induced", "Expert", "Selection", "MODEL_A", "MODEL_B", "MODEL",
        "OUTPUT_DIR", "README", "JSON", "density", "alpha", "Shift",
    }  # fmt: skip
    for tab in TABS:
        visitor.show(tab)
        said = page.evaluate(
            """skip => { const out = []; const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
            for (let n; (n = walk.nextNode());) { const p = n.parentElement;
              if (p && p.closest('.wm-island') && p.offsetParent && !p.closest(skip)) out.push(n.textContent); }
            for (const e of document.querySelectorAll('.wm-island :is([aria-label], [title], [placeholder])'))
              if (e.offsetParent && !e.closest(skip) && !e.closest('.wm-matrix, .wm-pick'))
                out.push(e.getAttribute('aria-label') ?? '', e.getAttribute('placeholder') ?? '');
            return out.join('\\n'); }""",
            NOT_WORDS,
        )
        odd = [word for word in re.findall(foreign, said) if word not in allowed]
        assert odd == [], f"{tab}: {odd}"


def test_nothing_jumps_when_results_arrive(visit: Visit, served: Served) -> None:
    visitor = visit(viewport={"width": 1440, "height": 900})
    visitor.settled()
    page = visitor.page
    page.evaluate(
        "window.shift = 0; new PerformanceObserver(list => { for (const e of list.getEntries())"
        " window.shift += e.value; }).observe({type: 'layout-shift', buffered: false})"
    )
    served.hold()
    page.evaluate("WM.mixer.set({method: 'direct', parameters: {direct_alpha: 0.31}, parts: undefined})")
    until(page, "WM.slices.job.state === 'running'")
    page.evaluate("window.shift = 0")
    served.release()
    visitor.settled()
    page.wait_for_timeout(200)
    assert page.evaluate("window.shift") < 0.05


def test_three_columns_and_the_samples_are_visible_at_once(visit: Visit) -> None:
    visitor = visit(viewport={"width": 1440, "height": 900})
    visitor.settled()
    strip = visitor.page.locator(".wm-strip").bounding_box()
    for selector in (".wm-column >> nth=0", ".wm-column >> nth=1", ".wm-column >> nth=2", ".wm-clip >> nth=0"):
        box = visitor.page.locator(selector).bounding_box()
        assert box["y"] >= 0 and box["y"] + box["height"] <= strip["y"], selector


def test_the_page_works_by_keyboard_alone(visit: Visit) -> None:
    visitor = visit()
    visitor.settled()
    page = visitor.page
    page.locator("#wm-tab-listen").focus()
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.body.dataset.wmTab") == "blind"
    page.keyboard.press("ArrowLeft")
    page.locator('[data-focus="method-ties"]').focus()
    page.keyboard.press("ArrowLeft")
    until(page, "WM.slices.recipe.method === 'slerp'")
    visitor.settled()
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("z")
    until(page, "WM.slices.recipe.method === 'ties'")
    page.keyboard.press("Shift+Slash")
    assert page.locator("dialog[open]").is_visible()
    page.keyboard.press("Escape")
    assert page.locator("dialog[open]").count() == 0


def test_a_number_can_be_typed_and_a_wrong_one_is_refused(visit: Visit) -> None:
    visitor = visit()
    visitor.settled()
    page = visitor.page
    box = page.locator('[data-focus="wm-p-ties_density-n"]')
    box.fill("0,85")
    box.press("Enter")
    until(page, "WM.slices.recipe.parameters.ties_density === 0.85")
    box.fill("1,5")
    box.press("Enter")
    toast = page.locator(".wm-toast-error")
    toast.wait_for()
    assert "от 0 до 1" in toast.inner_text()
    until(page, "document.querySelector('[data-focus=\"wm-p-ties_density-n\"]').value === '0,85'")


def test_a_part_of_the_model_gets_a_curve_of_its_own(visit: Visit) -> None:
    visitor = visit()
    visitor.settled()
    page = visitor.page
    page.locator('[data-focus="method-direct"]').click()
    until(page, "WM.slices.recipe.method === 'direct'")
    page.locator(".wm-fine > summary").click()
    page.locator('[data-focus="fine-encoder-direct_alpha"]').check()
    until(page, "WM.slices.recipe.parts?.encoder?.direct_alpha === 0.5")
    page.locator('[data-focus="curve-encoder-direct_alpha"]').check()
    anchor = page.locator('[data-focus="curve-encoder-direct_alpha-0"]')
    anchor.focus()
    page.keyboard.press("End")
    until(page, "WM.slices.recipe.parts.encoder.direct_alpha[0] === 1")
    visitor.settled()
    assert "слышит (кодировщик)" in page.locator("#wm-sentence").inner_text()


def test_blind_votes_by_ear(visit: Visit, served: Served) -> None:
    visitor = visit()
    visitor.settled()
    page = visitor.page
    page.locator("#wm-tab-blind").click()
    page.get_by_role("button", name="Начать").click()
    page.wait_for_selector(".wm-cardlet")
    assert page.locator('[data-focus="vote-0"]').is_disabled()
    early = "WM.call('blind.vote', {id: WM.slices.blind.id, choice: '0', heard: 0}, {quiet: true}).catch(() => 0)"
    page.evaluate(early)
    until(page, "WM.pending === 0")
    assert page.evaluate("WM.slices.blind.vote") is None
    page.evaluate("WM.player.toggle()")
    page.wait_for_selector('[data-focus="vote-0"]:not([disabled])')
    page.keyboard.press("2")
    until(page, "WM.slices.blind.vote === '1'")
    assert page.locator('.wm-cardlet[data-won="true"] h3').inner_text().startswith("2")
    page.wait_for_selector(".wm-rank")


def test_a_sweep_draws_a_curve_and_a_point_loads_its_recipe(visit: Visit) -> None:
    visitor = visit()
    visitor.settled()
    page = visitor.page
    page.locator("#wm-tab-sweep").click()
    page.locator('[data-focus="kind-t"]').click()
    until(page, "WM.slices.sweep?.job.state === 'done'")
    assert page.locator(".wm-plot circle").count() == 11
    assert page.locator(".wm-matrix tbody tr").count() == 11
    page.locator(".wm-plot circle").nth(3).click()
    until(page, "WM.slices.recipe.method === 'slerp' && WM.slices.recipe.parameters.slerp_t === 0.3")


def test_history_shows_notes_as_text_and_compares(visit: Visit) -> None:
    visitor = visit()
    visitor.settled()
    page = visitor.page
    page.locator('[data-focus="method-slerp"]').click()
    until(page, "WM.slices.recipe.method === 'slerp'")
    visitor.settled()
    page.locator("#wm-tab-history").click()
    page.wait_for_selector(".wm-entry >> nth=1")
    note = page.locator(".wm-note-field").first
    note.fill("${alert(1)} <img src=x onerror=alert(2)>")
    note.press("Enter")
    until(page, "WM.pending === 0")
    page.reload()
    visitor.ready()
    visitor.settled()  # otherwise the list may be drawn anew while it is looked at
    page.wait_for_selector(".wm-entry >> nth=1")
    until(page, "WM.pending === 0")
    assert page.locator(".wm-note-field").first.input_value() == "${alert(1)} <img src=x onerror=alert(2)>"
    place = page.locator(".wm-entry").nth(1).bounding_box()
    for index in (0, 1):
        page.locator(".wm-entry input[type=checkbox]").nth(index).check()
    assert page.locator(".wm-entry").nth(1).bounding_box() == place, "a tick moves nothing from under the pointer"
    table = page.locator(".wm-compared table")
    assert "Метод" in table.inner_text()
    box, strip = page.locator(".wm-compared > .wm-card").bounding_box(), page.locator(".wm-strip").bounding_box()
    assert box["y"] > 0 and box["y"] + box["height"] <= strip["y"], "the comparison is in sight"
    page.get_by_role("button", name="Снять отметки").click()
    assert page.locator(".wm-compared table, .wm-entry input:checked").count() == 0
    page.locator(".wm-entry").nth(1).get_by_role("button", name="Вернуть").click()
    until(page, "WM.slices.recipe.method === 'ties'")


def test_an_export_proves_that_saved_is_heard(visit: Visit) -> None:
    visitor = visit()
    visitor.settled()
    page = visitor.page
    page.locator("#wm-tab-export").click()
    page.locator("#wm-export-name").fill("browser export")
    page.locator('[data-focus="export"]').click()
    until(page, "WM.slices.export?.proof")
    assert page.evaluate("WM.slices.export.proof.texts.same") is True
    assert page.locator('.wm-proof[data-state="good"]').count() == 3
    with page.expect_download() as download:
        page.locator('[data-focus="take-recipe.json"]').click()
    assert download.value.suggested_filename == "recipe.json"


def test_the_guide_is_searched_and_tried(visit: Visit) -> None:
    visitor = visit()
    visitor.settled()
    page = visitor.page
    page.locator("#wm-tab-help").click()
    page.get_by_role("searchbox").last.fill("0.85")
    page.wait_for_selector(".wm-article mark")
    page.get_by_role("button", name="Попробовать").first.click()
    until(page, "WM.slices.recipe.parameters.ties_density === 0.85")
    until(page, "document.body.dataset.wmTab === 'listen'")


def test_the_map_speaks_and_draws_a_curve(visit: Visit) -> None:
    visitor = visit()
    visitor.settled()
    page = visitor.page
    page.locator("#wm-tab-map").click()
    page.locator('[data-focus="measure"]').click()
    page.wait_for_selector(".wm-heat button")
    page.locator(".wm-heat button").first.hover()
    assert "слой 1" in page.locator(".wm-said-cell").inner_text()
    assert serious(page) == []
    page.locator('[data-focus="curve-decoder-a"]').click()
    until(page, "WM.slices.recipe.parts?.decoder?.direct_alpha.length === 5")


def test_every_declared_parameter_has_a_control(visit: Visit) -> None:
    visitor = visit()
    visitor.settled()
    page = visitor.page
    for name, spec in methods().items():
        page.evaluate(
            "name => WM.mixer.set({method: name, parameters: Object.fromEntries(WM.boot.methods"
            ".find(m => m.name === name).parameters.map(p => [p.key, p.default])), parts: undefined})",
            name,
        )
        until(page, "name => WM.slices.recipe.method === name && WM.pending === 0", arg=name)
        for parameter in spec.parameters:
            control = page.locator(f'.wm-mixer [data-key="{parameter.key}"]').first
            assert control.count() == 1, f"{name}: {parameter.key}"
            assert page.locator(f'label[for="wm-p-{parameter.key}"], label:has([data-key="{parameter.key}"])').count()
        if spec.needs_base:
            assert page.locator('[data-focus="model-base"]').is_visible()
    visitor.settled()
    assert serious(page) == []


# Another share for each language: a mixture that was heard before comes from the cache and is never out of date.
@pytest.mark.parametrize(("lang", "share"), [("ru", 0.321), ("en", 0.322)])
def test_a_desk_screen_shows_names_and_tools_uncut(visit: Visit, served: Served, lang: str, share: float) -> None:
    visitor = visit(f"/?lang={lang}", viewport={"width": 1440, "height": 900})
    visitor.settled()
    page = visitor.page
    served.hold()
    page.evaluate(f"WM.mixer.set({{method: 'direct', parameters: {{direct_alpha: {share}}}, parts: undefined}})")
    page.wait_for_selector(".wm-stale .wm-stale-note")
    cut = "[...document.querySelectorAll('.wm-column h3')].filter(h => h.scrollWidth > h.clientWidth).length"
    assert page.evaluate(cut) == 0
    top, bottom = (page.locator(where).bounding_box() for where in (".wm-tools-row", ".wm-strip"))
    assert top["y"] + top["height"] <= bottom["y"] + 1, "undo and copy are above the strip, not under it"
    legend = page.locator(".wm-legend").bounding_box()
    assert legend["height"] < 45, "one line"


def test_the_picker_of_models_fits_a_phone(visit: Visit) -> None:
    visitor = visit("/?lang=ru", viewport={"width": 375, "height": 760})
    visitor.settled()
    page = visitor.page
    page.locator(".wm-sheet-handle").click()
    page.locator('[data-focus="model-b"]').click()
    box = page.locator(".wm-dialog[open]").bounding_box()
    assert box["x"] >= 0 and box["x"] + box["width"] <= 375
    assert page.evaluate(
        "[...document.querySelectorAll('.wm-dialog[open], .wm-dialog[open] .wm-option')]"
        ".filter(n => n.scrollWidth > n.clientWidth"
        " || (n.matches('.wm-option') && n.scrollHeight > n.clientHeight)).length"
    ) == 0


def test_every_control_of_every_method_has_room_for_its_label(visit: Visit) -> None:
    visitor = visit("/?lang=ru")
    visitor.settled()
    page = visitor.page
    page.locator('[data-focus="live"]').uncheck()
    crushed = {}
    for name in page.evaluate("WM.boot.methods.map(m => m.name)"):
        page.evaluate(
            "name => { const m = WM.boot.methods.find(m => m.name === name); return WM.mixer.set({method: name,"
            " parts: undefined, parameters: Object.fromEntries(m.parameters.map(p => [p.key, p.default]))}); }",
            name,
        )
        until(page, "name => WM.slices.recipe.method === name && WM.pending === 0", arg=name)
        crushed[name] = page.evaluate(
            "[...document.querySelectorAll('.wm-mixer label[for]')].map(label => {"
            " const text = document.createRange(); text.selectNodeContents(label);"
            " const a = text.getBoundingClientRect(), widget = document.getElementById(label.htmlFor);"
            " const hit = [widget, label.parentElement.querySelector('.wm-number')].filter(Boolean).some(other => {"
            "   const b = other.getBoundingClientRect();"
            "   return Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1"
            "     && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 1; });"
            " return hit || label.clientWidth < 60 ? label.textContent : null; }).filter(Boolean)"
        )
    assert len(crushed) > 5 and {name: labels for name, labels in crushed.items() if labels} == {}
