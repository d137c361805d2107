"""A third and a fourth model: heard, told, kept, exported, and never mixed where the method takes two."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from merger.errors import BadRecipe, WhisperMergeError
from merger.recipe import MergeRecipe
from tests.ui.acting import act, heard
from tests.ui.conftest import OWNER
from ui import models
from ui.models import taking_part
from ui.recipe_changes import fitted
from ui.sessions import Session
from ui.settings import Settings
from ui.workshop import Workshop

LINEAR = {"method": "linear", "parameters": {"weights": [0.0, 0.0, 1.0]}}


def with_three(workshop: Workshop, recipe: dict[str, Any] | None = None) -> Session:
    """A session whose C is the base model of the tiny pair."""
    session = workshop.session(OWNER)
    heard(workshop, session)
    act(workshop, session, "mixer.set", recipe={"method": "linear"})
    act(workshop, session, "models.choose", role="c", ref="base")
    if recipe is not None:
        act(workshop, session, "mixer.set", recipe=recipe)
    return session


def test_a_third_model_is_part_of_the_mixture_and_of_its_sentence(workshop: Workshop) -> None:
    session = with_three(workshop)
    assert session.get("recipe")["sentence"]["ru"].endswith("поровну (Официальная, Разговорная, Общий предок)")
    three = heard(workshop, session)
    act(workshop, session, "mixer.set", recipe=LINEAR)
    only_third = heard(workshop, session)
    assert only_third["digest"] != three["digest"]
    act(workshop, session, "models.choose", role="a", ref="base")
    assert heard(workshop, session)["a"]["text"] == only_third["merged"]["text"] != only_third["a"]["text"]


def test_a_method_of_two_models_leaves_the_third_alone_and_stays_fresh(workshop: Workshop) -> None:
    session = with_three(workshop)
    act(workshop, session, "mixer.set", recipe={"method": "direct"})
    before = heard(workshop, session)["digest"]
    assert "Общий" not in session.get("recipe")["sentence"]["ru"]
    act(workshop, session, "models.choose", role="c", ref=None)
    assert session.get("recipe")["key"] == before, "what is heard does not depend on a model that takes no part"
    assert set(taking_part(session.recipe, {"a": 1, "b": 2, "c": 3, "base": 4})) == {"a", "b"}


def test_weights_follow_the_models_that_come_and_go(workshop: Workshop) -> None:
    session = workshop.session(OWNER)
    act(workshop, session, "mixer.live", live=False)
    act(workshop, session, "mixer.set", recipe={"method": "linear", "parameters": {"weights": [3, 1]}})
    act(workshop, session, "models.choose", role="c", ref="base")
    assert session.recipe.parameters["weights"] == (3, 1, 2)
    act(workshop, session, "models.swap")
    assert session.recipe.parameters["weights"] == (1, 3, 2)
    act(workshop, session, "models.choose", role="d", ref="a")
    act(workshop, session, "models.choose", role="c", ref=None)
    assert (session.models["c"], session.models["d"]) == ("a", None), "no gap"
    assert len(session.recipe.parameters["weights"]) == 3
    assert act(workshop, session, "mixer.undo")
    assert (session.models["c"], session.models["d"]) == ("base", "a")
    assert len(session.recipe.parameters["weights"]) == 4


def test_a_recipe_for_three_is_refused_for_two(workshop: Workshop) -> None:
    session = workshop.session(OWNER)
    with pytest.raises(BadRecipe, match="2"):
        act(workshop, session, "mixer.set", recipe=LINEAR)


def test_weights_by_hand() -> None:
    recipe = MergeRecipe.build("linear", {"weights": [0.5, 0.25]}, parts={"encoder": {"weights": [[1, 0], [0, 1]]}})
    grown = fitted(recipe, ["x", "y"], ["x", "y", "z"])
    assert grown.parameters["weights"] == (0.5, 0.25, 0.375)
    assert grown.to_json()["parts"] == {"encoder": {"weights": [[1, 0, 0.5], [0, 1, 0.5]]}}
    shrunk = fitted(MergeRecipe.build("linear", {"weights": [0, 1, 0]}), ["x", "y", "z"], ["x", "z"])
    assert shrunk.parameters["weights"] == (0.5, 0.5), "nothing would be left: equal"
    assert fitted(MergeRecipe.build("linear"), ["x", "y"], ["x", "y", "z"]).parameters["weights"] is None


def test_a_copied_recipe_brings_its_models(workshop: Workshop) -> None:
    ann = with_three(workshop, LINEAR)
    heard(workshop, ann)
    text = json.dumps(ann.get("recipe")["json"])
    assert json.loads(text)["sources"] == {"a": "a", "b": "b", "c": "base"}
    bob = workshop.session("bob-" + "x" * 22)
    assert act(workshop, bob, "mixer.paste", text=text) == {"missing": []}
    assert bob.models["c"] == "base" and bob.recipe.digest == ann.recipe.digest
    assert heard(workshop, bob)["merged"]["text"] == ann.get("result")["merged"]["text"]


def test_models_that_are_not_here_are_named_and_the_recipe_holds_for_those_on_the_page(workshop: Workshop) -> None:
    session = workshop.session(OWNER)
    recipe = {"method": "direct", "parameters": {"direct_alpha": 0.25}, "sources": {"a": "a", "b": "/etc"}}
    assert act(workshop, session, "mixer.paste", text=json.dumps(recipe)) == {"missing": ["/etc"]}
    assert session.models["b"] == "b" and session.recipe.parameters["direct_alpha"] == 0.25


def test_history_and_export_keep_all_three(workshop: Workshop) -> None:
    session = with_three(workshop, LINEAR)
    heard(workshop, session)
    row = act(workshop, session, "history.list")["rows"][0]
    assert row["models"]["c"]["ru"] == "Общий предок" and "base" not in row["models"]
    act(workshop, session, "mixer.set", recipe={"method": "direct"})
    act(workshop, session, "models.choose", role="c", ref=None)
    act(workshop, session, "history.restore", id=row["id"])
    assert session.models["c"] == "base" and session.recipe.digest == MergeRecipe.from_json(LINEAR).digest
    act(workshop, session, "export.start", name="three")
    job = workshop.exports["three"]
    assert job.wait(60) and job.error is None
    told = json.loads((workshop.settings.export_root / "three" / "recipe.json").read_text("utf-8"))
    assert told["recipe"]["parameters"] == {"weights": [0.0, 0.0, 1.0]} and set(told["sources"]) == {"a", "b", "c"}


def test_an_export_can_be_mixed_further(workshop: Workshop) -> None:
    session = with_three(workshop, LINEAR)
    act(workshop, session, "export.start", name="a")  # called like the demo's model A
    job = workshop.exports["a"]
    assert job.wait(60) and job.error is None
    act(workshop, session, "models.options")
    offered = {option["ref"]: option["group"] for option in session.get("models")["options"]}
    assert offered["export:a"] == "export" and offered["a"] == "demo"
    act(workshop, session, "models.choose", role="b", ref="export:a")
    act(workshop, session, "mixer.set", recipe={"method": "direct", "parameters": {"direct_alpha": 0.0}})
    told = heard(workshop, session)
    assert told["merged"]["text"] == told["b"]["text"]
    row = act(workshop, session, "history.list")["rows"][0]
    assert row["models"]["b"]["ru"] == "a"
    act(workshop, session, "models.choose", role="b", ref="b")
    act(workshop, session, "history.restore", id=row["id"])
    assert session.models["b"] == "export:a"
    for outside in ("export:../../../../etc", "export:..", "export:"):
        with pytest.raises(WhisperMergeError):
            act(workshop, session, "models.choose", role="b", ref=outside)


def test_strangers_are_offered_their_own_exports_alone(settings: Settings, tmp_path: Path) -> None:
    shop = Workshop(replace(settings, profile="space"), uploads=tmp_path)
    try:
        ann, bob = shop.session(OWNER), shop.session("bob-" + "x" * 22)
        act(shop, ann, "export.start", name="mine")
        (folder,) = shop.exports
        assert shop.exports[folder].wait(60) and folder.startswith("merge-")
        assert shop.exported(ann.owner) == [folder] and shop.exported(bob.owner) == []
    finally:
        shop.close()


def test_models_are_compared_once_while_they_are_the_same(
    workshop: Workshop, demo_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A comparison reads tokenizers of megabytes, and every move of a slider asks for it."""
    asked: list[int] = []
    plain = models.compare
    monkeypatch.setattr(models, "compare", lambda *a, **k: (asked.append(1), plain(*a, **k))[1])
    pair = {"a": "a", "b": "b"}
    for _ in range(3):
        workshop.models.checked(pair, needs_base=False)
        assert workshop.models.verdict(pair)["state"] == "ok"
    workshop.models.checked({"a": "b", "b": "a"}, needs_base=False)
    workshop.models.checked({"a": "a", "base": "b", "b": "b"}, needs_base=True)
    assert len(asked) == 3, "each set of models once"
    config = demo_folder / "models" / "b" / "config.json"
    before = config.read_text(encoding="utf-8")
    try:
        config.write_text(json.dumps({**json.loads(before), "num_mel_bins": 128}), encoding="utf-8")
        assert workshop.models.verdict(pair)["state"] == "bad", "what changed on disk is compared anew"
    finally:
        config.write_text(before, encoding="utf-8")
