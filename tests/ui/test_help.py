"""The guide on the page, and the map of the models."""

import re
from pathlib import Path

import pytest

from merger.recipe import MergeRecipe
from tests.ui.acting import act, finished
from tests.ui.conftest import OWNER
from ui import help
from ui.workshop import Workshop


@pytest.mark.parametrize("lang", ["ru", "en"])
def test_every_recommended_command_of_the_guide_can_be_tried(workshop: Workshop, lang: str) -> None:
    told = act(workshop, workshop.session(OWNER), "help.guide", lang=lang)
    lines = re.findall(r"^\s*\./whisper_merge\.sh (.*--method.*)$", told["text"], re.MULTILINE)
    assert set(told["recipes"]) == {line for line in lines if "--method all" not in line}
    assert len(lines) == 15
    assert all(MergeRecipe.from_json(recipe) for recipe in told["recipes"].values())


def test_both_guides_have_the_same_commands() -> None:
    commands = [re.findall(r"^\s*(\./whisper_merge\.sh.*)$", help.guide(lang), re.MULTILINE) for lang in ("ru", "en")]
    assert commands[0] == commands[1]


def test_the_russian_guide_is_the_users_own() -> None:
    text = Path(help.ROOT / "docs" / "guide.ru.md").read_text(encoding="utf-8")
    assert text.startswith("# Полное руководство по объединению моделей Whisper")


@pytest.mark.parametrize("command", ["--method ties --slerp-t 0.3", "--method all", "--method direct --direct-alpha 7"])
def test_a_command_that_is_no_single_recipe_gets_no_button(command: str) -> None:
    assert help.recipe_of(command) is None


def test_the_map_measures_the_pair(workshop: Workshop) -> None:
    session = workshop.session(OWNER)
    act(workshop, session, "map.measure")
    told = finished(workshop, session, "map").result
    assert told["heat_maps"]["encoder"]["blocks"] == [0, 1]
    cell = told["heat_maps"]["decoder"]["cells"][0][0]
    assert 0 < cell["distance"] < 1 and cell["sign_conflicts"] is not None
    assert "tensors" not in told and told["parts"]["self_attention"].keys() == {"ru", "en"}
