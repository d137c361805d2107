"""`docs/settings.md`, made from the declarations: `python -m ui.settings_table > docs/settings.md`."""

from pathlib import Path
from typing import Any

from ui.setting_kinds import Declared
from ui.settings import ROOT, declarations

HEAD = """# Settings

Every setting is an environment variable. `python app.py --profile lab|space` (or `WHISPER_MERGE_PROFILE`) chooses
between two columns of defaults: a lab's box, or a public Space where strangers come. Without either the app takes
`space` where `SPACE_ID` is set (Hugging Face sets it), `lab` elsewhere. A single variable overrides its default. A
value that cannot be understood, and a misspelt name, end the start with a coded sentence.

`GRADIO_SERVER_NAME` and `GRADIO_SERVER_PORT` keep their meaning; `HF_TOKEN` lets a lab server push exports;
`WHISPER_MERGE_KERNELS=off` turns the C kernels off and `WHISPER_MERGE_CACHE` moves the program's cache.

This page is written by `python -m ui.settings_table`; a test compares it with the code.

| variable | meaning | unit | lab | space |
| --- | --- | --- | --- | --- |
"""


def table() -> str:
    """The whole page."""
    return HEAD + "\n".join(_row(one) for one in declarations().values()) + "\n"


def _row(one: Declared) -> str:
    shown = [_default(one, value) for value in (one.lab, one.space)]
    return f"| `{one.variable}` | {one.about} | {one.kind.unit} | {shown[0]} | {shown[1]} |"


def _default(one: Declared, value: Any) -> str:
    if isinstance(value, Path) and value.is_relative_to(ROOT):
        return f"`{value.relative_to(ROOT)}`"
    return one.kind.shown(value) or "none"


if __name__ == "__main__":
    print(table(), end="")
