"""The mixer on the server: recipes, undo, swap, what is refused."""

from typing import Any

import pytest

from merger.errors import BadParameter, BadRecipe
from merger.recipe import MergeRecipe
from merger.registry import methods
from tests.ui.acting import act, heard
from tests.ui.conftest import OWNER
from ui.errors import ModelsNotChosen
from ui.recipe_changes import mirrored
from ui.workshop import Workshop


def test_the_ends_of_the_slider_are_the_parents(workshop: Workshop) -> None:
    session = workshop.session(OWNER)
    for alpha, parent in ((1.0, "a"), (0.0, "b")):
        act(workshop, session, "mixer.set", recipe={"method": "direct", "parameters": {"direct_alpha": alpha}})
        result = heard(workshop, session)
        assert result["merged"]["text"] == result[parent]["text"] != ""
    assert result["a"]["text"] != result["b"]["text"]


def test_a_recipe_that_was_heard_before_comes_from_memory(workshop: Workshop) -> None:
    session = workshop.session(OWNER)
    heard(workshop, session)
    act(workshop, session, "mixer.preset", name="experiment-slerp")
    assert heard(workshop, session)["merged"]["cached"] is False
    act(workshop, session, "mixer.undo")
    result = heard(workshop, session)
    assert [result[side]["cached"] for side in ("a", "merged", "b")] == [True, True, True]


def test_nobody_changes_somebody_elses_mixture(workshop: Workshop) -> None:
    ann, bob = workshop.session("ann-" + "a" * 22), workshop.session("bob-" + "b" * 22)
    act(workshop, ann, "mixer.set", recipe={"method": "direct", "parameters": {"direct_alpha": 1.0}})
    act(workshop, bob, "mixer.set", recipe={"method": "direct", "parameters": {"direct_alpha": 0.0}})
    first, second = heard(workshop, ann), heard(workshop, bob)
    assert first["merged"]["text"] == first["a"]["text"]
    assert second["merged"]["text"] == second["b"]["text"]
    assert ann.recipe.parameters["direct_alpha"] == 1.0


def test_undo_and_redo_walk_through_the_recipes(workshop: Workshop) -> None:
    session = workshop.session(OWNER)
    act(workshop, session, "mixer.live", live=False)
    start = session.recipe
    for name in ("different-data", "experiment-direct"):
        act(workshop, session, "mixer.preset", name=name)
    assert act(workshop, session, "mixer.undo") and session.preset == "different-data"
    assert act(workshop, session, "mixer.undo") and session.recipe.digest == start.digest
    assert act(workshop, session, "mixer.undo") is False
    assert act(workshop, session, "mixer.redo") and session.preset == "different-data"
    assert session.get("recipe")["can_redo"] is True
    act(workshop, session, "mixer.reset")
    assert session.recipe.digest == MergeRecipe.build("ties").digest
    assert session.get("recipe")["can_redo"] is False


def test_swapping_the_models_keeps_the_mixture(workshop: Workshop) -> None:
    session = workshop.session(OWNER)
    act(workshop, session, "mixer.set", recipe={"method": "direct", "parameters": {"direct_alpha": 0.75}})
    before = heard(workshop, session)
    act(workshop, session, "models.swap")
    after = heard(workshop, session)
    assert session.models["a"] == "b" and session.recipe.parameters["direct_alpha"] == 0.25
    assert after["a"]["text"] == before["b"]["text"]


def test_undo_after_a_swap_brings_back_the_models_with_the_recipe(workshop: Workshop) -> None:
    session = workshop.session(OWNER)
    act(workshop, session, "mixer.set", recipe={"method": "direct", "parameters": {"direct_alpha": 0.75}})
    before = heard(workshop, session)
    act(workshop, session, "models.swap")
    heard(workshop, session)
    assert act(workshop, session, "mixer.undo")
    after = heard(workshop, session)
    assert (session.models["a"], session.models["b"]) == ("a", "b")
    assert session.recipe.parameters["direct_alpha"] == 0.75
    assert session.get("models")["roles"]["a"]["ref"] == "a"
    assert [after[side]["text"] for side in ("a", "merged", "b")] == [
        before[side]["text"] for side in ("a", "merged", "b")
    ]
    assert act(workshop, session, "mixer.redo")
    assert (session.models["a"], session.recipe.parameters["direct_alpha"]) == ("b", 0.25)


def test_undo_takes_a_chosen_model_back_and_a_move_before_it_only_then(workshop: Workshop) -> None:
    session = workshop.session(OWNER)
    act(workshop, session, "mixer.live", live=False)
    act(workshop, session, "mixer.preset", name="experiment-direct")
    act(workshop, session, "models.choose", role="b", ref="base")
    act(workshop, session, "models.choose", role="b", ref="base")  # the same once more is no step
    assert act(workshop, session, "mixer.undo")
    assert (session.models["b"], session.preset) == ("b", "experiment-direct")
    assert act(workshop, session, "mixer.undo") and (session.models["b"], session.preset) == ("b", "start")
    assert act(workshop, session, "mixer.undo") is False


@pytest.mark.parametrize(
    ("recipe", "expected"),
    [
        (
            {
                "method": "direct",
                "parameters": {"direct_alpha": 0.75},
                "parts": {"encoder": {"direct_alpha": [0.0, 1.0]}, "decoder": {"direct_alpha": 0.25}},
            },
            {"parameters": {"direct_alpha": 0.25}, "encoder": [1.0, 0.0], "decoder": 0.75},
        ),
        (
            {
                "method": "linear",
                "parameters": {"weights": [3, 1]},
                "parts": {"encoder": {"weights": [[1, 0], [2, 5]]}},
            },
            {"parameters": {"weights": [1, 3]}, "encoder": [[0, 1], [5, 2]]},
        ),
    ],
)
def test_a_swap_mirrors_what_parts_of_the_model_set_for_themselves(
    workshop: Workshop, recipe: dict[str, Any], expected: dict[str, Any]
) -> None:
    session = workshop.session(OWNER)
    act(workshop, session, "mixer.live", live=False)
    act(workshop, session, "mixer.set", recipe=recipe)
    act(workshop, session, "models.swap")
    told = session.recipe.to_json()
    assert told["parameters"] == expected["parameters"]
    (key,) = expected["parameters"]
    assert {part: curve[key] for part, curve in told["parts"].items()} == {
        part: value for part, value in expected.items() if part != "parameters"
    }


@pytest.mark.parametrize("method", [name for name, spec in methods().items() if spec.mirror is not None])
def test_mirrored_twice_is_the_recipe_itself_for_every_method(method: str) -> None:
    recipe = MergeRecipe.build(method)
    once = mirrored(recipe)
    assert once is not None
    twice = mirrored(once)
    assert twice is not None and twice.sentence("en", "A", "B") == recipe.sentence("en", "A", "B")


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("no json", BadRecipe),
        ('{"method": "direct", "parameters": {"direct_alpha": 2}}', BadParameter),
        ('{"method": "nope"}', BadParameter),
        ("[1]", BadRecipe),
    ],
)
def test_a_bad_recipe_is_refused_and_changes_nothing(workshop: Workshop, text: str, error: type[Exception]) -> None:
    session = workshop.session(OWNER)
    before = session.recipe
    with pytest.raises(error):
        act(workshop, session, "mixer.paste", text=text)
    assert session.recipe is before and session.undo == []


def test_an_unknown_preset_is_an_error_not_another_preset(workshop: Workshop) -> None:
    with pytest.raises(BadRecipe, match="no preset"):
        act(workshop, workshop.session(OWNER), "mixer.preset", name="strat")


@pytest.mark.parametrize("name", list(methods()))
def test_every_method_of_the_registry_can_be_heard(workshop: Workshop, name: str) -> None:
    session = workshop.session(OWNER)
    act(workshop, session, "mixer.set", recipe={"method": name})
    result = heard(workshop, session)
    assert result["recipe"]["method"] == name
    assert result["merged"]["merge"]["performed"] == name or result["merged"]["cached"]
    sentence = session.get("recipe")["sentence"]
    assert sentence["ru"] and sentence["en"]


def test_a_method_with_a_base_says_when_there_is_none(workshop: Workshop) -> None:
    session = workshop.session(OWNER)
    act(workshop, session, "models.choose", role="base", ref=None)
    needing = next(name for name, spec in methods().items() if spec.needs_base)
    with pytest.raises(ModelsNotChosen, match="base model"):
        act(workshop, session, "mixer.set", recipe={"method": needing})
