"""The page's islands: custom components with a static template, a JSON value, and a script that builds the DOM.

Gradio evaluates an HTML template as a JavaScript template string, so a transcript inside a template could run as code.
Every template here is therefore one constant `<div>`; values travel as JSON and become text nodes (`bus_elements.js`).
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr

FOLDER = Path(__file__).resolve().parent
# Order matters for the scripts (the bus first) and for the sheets (the base first).
NAMES = (
    "shell", "mixer", "player", "grid", "listen", "judge", "blind", "sweep", "evaluation", "history", "export",
    "model_map", "help",
)  # fmt: skip


def island(name: str, value: Any = None, server_functions: list[Callable[..., Any]] | None = None) -> gr.HTML:
    """One custom component, drawn by `<name>.js` and its parts `<name>_*.js` into a constant template."""
    return gr.HTML(
        value=value,
        html_template='<div class="wm-island"></div>',
        js_on_load=f"WM.start('{name}', element, props, typeof server === 'undefined' ? null : server, upload)",
        apply_default_css=False,
        elem_id=f"wm-{name.replace('_', '-')}",
        elem_classes=["wm-view"],
        server_functions=server_functions,
    )


def head() -> str:
    """All sheets and scripts of the page, inline: no build step, no second request.

    Not through Gradio's `css`: it rewrites selectors with a prefix and cuts them at the commas inside `:is(…)`.
    """
    # Nested under html:root every rule outweighs Gradio's reset of buttons and fields; the tokens stand outside.
    tokens = (FOLDER / "tokens.css").read_text(encoding="utf-8")
    return f"<style>{tokens}\nhtml:root {{\n{_joined('base', 'css')}\n}}</style><script>{_joined('bus', 'js')}</script>"


def _joined(first: str, suffix: str) -> str:
    files = [
        path
        for name in (first, *NAMES)
        for path in (FOLDER / f"{name}.{suffix}", *sorted(FOLDER.glob(f"{name}_*.{suffix}")))
        if path.exists()
    ]
    text = "\n".join(path.read_text(encoding="utf-8") for path in files)
    assert "</s" not in text  # would end the element early
    return text
