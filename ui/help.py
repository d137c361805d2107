"""The guide inside the page, with its command lines as recipes that can be tried at once."""

import re
import shlex
from functools import cache
from pathlib import Path
from typing import Any

from merger.errors import BadParameter
from merger.recipe import MergeRecipe
from merger.registry import methods
from ui.sessions import Session
from ui.settings import LANGUAGES, ROOT
from ui.views import action
from ui.workshop import Workshop

COMMAND = re.compile(r"^\s*\./whisper_merge\.sh\s+(.*--method\s+\w+.*)$", re.MULTILINE)


@cache
def guide(lang: str) -> str:
    return Path(ROOT / "docs" / f"guide.{lang}.md").read_text(encoding="utf-8")


def recipe_of(command: str) -> dict[str, Any] | None:
    """The recipe that a command line of the guide asks for; None where it asks for no single merge."""
    words = shlex.split(command)
    flags = dict(zip(words[::2], words[1::2], strict=False))
    spec = methods().get(flags.pop("--method", ""))
    if spec is None:
        return None
    given = {}
    for parameter in spec.parameters:
        if parameter.flag in flags:
            try:
                given[parameter.key] = parameter.parse(flags.pop(parameter.flag))
            except BadParameter:
                return None
    return None if flags else MergeRecipe.build(spec.name, given).to_json()


@action("help.guide")
def told(workshop: Workshop, session: Session, payload: dict[str, Any]) -> dict[str, Any]:
    lang = payload.get("lang") if payload.get("lang") in LANGUAGES else "ru"
    text = guide(str(lang))
    recipes = {line: recipe for line in COMMAND.findall(text) if (recipe := recipe_of(line)) is not None}
    return {"text": text, "recipes": recipes}
