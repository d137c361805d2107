"""Sweeps and the search for the best recipe."""

from dataclasses import replace

import pytest

from merger.errors import BadRecipe
from merger.recipe import MergeRecipe
from tests.ui.acting import act, finished, heard
from tests.ui.conftest import OWNER
from ui import sweep
from ui.workshop import Workshop


def test_a_sweep_hears_every_clip_with_every_recipe_once(workshop: Workshop) -> None:
    session = workshop.session(OWNER)
    heard(workshop, session)
    clips = [clip.id for clip in workshop.clips.samples[:2]]
    act(workshop, session, "sweep.start", kind="alpha", clips=clips)
    finished(workshop, session, "sweep")
    table = session.get("sweep")
    assert [row["x"] for row in table["rows"]] == list(sweep.STEPS)
    assert all(set(row["cells"]) == set(clips) for row in table["rows"])
    by_x = {row["x"]: row for row in table["rows"]}
    act(workshop, session, "clips.choose", id=clips[1])
    result = heard(workshop, session)
    assert by_x[1.0]["cells"][clips[1]]["text"] == result["a"]["text"]
    assert by_x[0.0]["cells"][clips[1]]["text"] == result["b"]["text"]
    assert table["best"] in {row["digest"] for row in table["rows"]}


def test_every_chosen_clip_is_heard_and_none_twice(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    session = workshop.session(OWNER)
    heard(workshop, session)
    one = workshop.clips.samples[0]
    many = {str(number): replace(one, id=str(number)) for number in range(70)}  # a shelf may be longer than 60
    monkeypatch.setattr(workshop.clips, "find", lambda owner, clip_id: many.get(clip_id, one))
    act(workshop, session, "sweep.start", kind="alpha", clips=[*many, *many])
    job = session.get("sweep")["job"]["id"]
    assert [clip["id"] for clip in session.get("sweep")["clips"]] == list(many)
    workshop.worker.cancel(OWNER, job)


def test_wer_of_a_sweep_is_pooled_not_averaged() -> None:
    trial = sweep.Trial(MergeRecipe.build("direct"), edits=1, words=10)
    assert trial.wer == 0.1
    assert sweep.Trial(MergeRecipe.build("direct")).wer is None


def test_the_plan_of_all_methods_has_both_parents_and_no_recipe_twice() -> None:
    trials = sweep.plan("methods", MergeRecipe.build("ties"))
    assert [trial.side for trial in trials[:2]] == ["a", "b"]
    merged = [trial.recipe.digest for trial in trials if trial.side == "merged"]
    assert len(merged) == len(set(merged)) >= 8
    with pytest.raises(BadRecipe):
        sweep.plan("everything", MergeRecipe.build("ties"))


def test_the_search_stays_in_its_budget_and_finds_the_valley() -> None:
    def valley(recipe: MergeRecipe) -> float:
        """Lowest at direct 0.35, everything else is worse."""
        if recipe.method != "direct":
            return 0.9
        return abs(recipe.parameters["direct_alpha"] - 0.35)

    search = sweep.Search(budget=40)
    for recipe in search.candidates():
        search.told(recipe, valley(recipe))
    assert search.best.parameters["direct_alpha"] == pytest.approx(0.35, abs=0.051)
    assert len(search._tried) <= 40
    small = sweep.Search(budget=5)
    for recipe in small.candidates():
        small.told(recipe, 1.0)
    assert len(small._tried) == 5


def test_neighbours_keep_the_sum_of_a_pair_and_the_range() -> None:
    recipe = MergeRecipe.build(
        "ties", {"ties_density": 1.0, "encoder_weights": [1.0, 0.0], "decoder_weights": [0.5, 0.5]}
    )
    moved = sweep.neighbours(recipe, 0.1)
    assert all(0 <= one.parameters["ties_density"] <= 1 for one in moved)
    assert {one.parameters["encoder_weights"] for one in moved} == {(1.0, 0.0), (0.9, 0.1)}
    assert {one.parameters["decoder_weights"] for one in moved} == {(0.5, 0.5), (0.4, 0.6), (0.6, 0.4)}
