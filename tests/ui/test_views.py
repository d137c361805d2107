"""Blind voting, sweeps, history, export and help on real tiny models."""

import json
import re
import shutil
import threading
import time
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from merger.bilingual import Text
from merger.errors import BadRecipe
from merger.recipe import MergeRecipe
from tests.ui.conftest import OWNER
from tests.ui.test_workshop import SECONDS, act, heard
from ui import blind, help, sweep
from ui.errors import NotFound
from ui.sessions import Session
from ui.worker import Job, JobState
from ui.workshop import Workshop


def finished(workshop: Workshop, session: Session, kind: str) -> Any:
    """The latest job of this kind, once it is over; one that follows another is waited for."""
    deadline = time.monotonic() + SECONDS
    while not (jobs := [job for job in workshop.worker.jobs(session.owner) if job.kind == kind]):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert jobs and jobs[-1].wait(SECONDS)
    assert jobs[-1].state is JobState.DONE, jobs[-1].error
    return jobs[-1]


def begun_round(workshop: Workshop) -> tuple[Session, dict[str, Any]]:
    """A round of three different texts: what tiny models write may happen to be the same."""
    session = workshop.session(OWNER)
    heard(workshop, session)
    hear = workshop.listener.hear

    def hear_apart(side: str, *rest: Any) -> Any:
        heard = hear(side, *rest)
        return replace(heard, transcript=replace(heard.transcript, text=f"{heard.transcript.text} {side}"))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workshop.listener, "hear", hear_apart)
        act(workshop, session, "blind.new")
        finished(workshop, session, "blind")
    return session, session.get("blind")


def heard_enough(session: Session) -> None:
    session.notes["blind"].began -= 60.0


def test_who_is_who_stays_on_the_server_until_the_vote(workshop: Workshop) -> None:
    session, shown = begun_round(workshop)
    assert shown["labels"] is None and len(shown["texts"]) == 3
    assert {name.en for name in workshop.models.names(session.models).values()}.isdisjoint(json.dumps(shown).split('"'))
    heard_enough(session)
    act(workshop, session, "blind.vote", id=shown["id"], choice="1", heard=60)
    revealed = session.get("blind")
    assert revealed["vote"] == "1" and len(revealed["labels"]) == 3
    told = session.notes["blind"]
    kept = workshop.store.votes(session.owner)
    first, winner, last = (names[0] for names in told.names)
    assert [(one.left_name, one.right_name, one.choice) for one in kept] == [
        (first, winner, "right"),
        (winner, last, "left"),
    ]
    assert {one.ballot for one in kept} == {told.id}
    assert len(workshop.store.votes(blind.EVERYBODY)) == 2


def test_a_vote_needs_the_recording_heard_whatever_the_page_claims(workshop: Workshop) -> None:
    session, shown = begun_round(workshop)
    with pytest.raises(BadRecipe, match="Listen"):
        act(workshop, session, "blind.vote", id=shown["id"], choice="0", heard=60)  # no time has passed
    heard_enough(session)
    with pytest.raises(BadRecipe, match="Listen"):
        act(workshop, session, "blind.vote", id=shown["id"], choice="0", heard=0.1)
    with pytest.raises(BadRecipe, match="no such vote"):
        act(workshop, session, "blind.vote", id=shown["id"], choice="7", heard=60)
    act(workshop, session, "blind.vote", id=shown["id"], choice="same", heard=60)
    assert [one.choice for one in workshop.store.votes(session.owner)] == ["tie"] * 3
    with pytest.raises(NotFound):
        act(workshop, session, "blind.vote", id=shown["id"], choice="0", heard=60)


def test_equal_texts_are_one_card_and_tie(workshop: Workshop) -> None:
    session = workshop.session(OWNER)
    act(workshop, session, "mixer.set", recipe={"method": "direct", "parameters": {"direct_alpha": 1.0}})  # A itself
    heard(workshop, session)
    act(workshop, session, "blind.new")
    finished(workshop, session, "blind")
    told, shown = session.notes["blind"], session.get("blind")
    assert len(shown["texts"]) == len(set(shown["texts"])) == 2
    both = next(index for index, names in enumerate(told.names) if len(names) == 2)
    heard_enough(session)
    act(workshop, session, "blind.vote", id=shown["id"], choice=str(both), heard=60)
    kept = workshop.store.votes(session.owner)
    winners, (loser,) = set(told.names[both]), told.names[1 - both]
    results = {frozenset((one.left_name, one.right_name)): one for one in kept}
    assert len(kept) == 3 and results[frozenset(winners)].choice == "tie"
    for winner in winners:
        vote = results[frozenset((winner, loser))]
        assert vote.choice == ("left" if vote.left_name == winner else "right")


def test_nothing_is_asked_where_all_texts_are_the_same(workshop: Workshop) -> None:
    session = workshop.session(OWNER)
    heard(workshop, session)
    act(workshop, session, "models.choose", role="b", ref=session.models["a"])
    act(workshop, session, "blind.new")
    finished(workshop, session, "blind")
    assert session.get("blind") == {"alike": 3} and "blind" not in session.notes


def test_a_candidate_named_by_another_version_keeps_its_name(workshop: Workshop) -> None:
    unknown = json.dumps({"recipe": {"method": "gone", "parameters": {}}, "models": {}})
    for name in ("Модель из старой базы", "[1]", unknown):
        assert blind.label(workshop, name) == {"ru": name, "en": name}


def test_blind_results_and_their_export(workshop: Workshop) -> None:
    session, shown = begun_round(workshop)
    heard_enough(session)
    act(workshop, session, "blind.vote", id=shown["id"], choice="0", heard=60)
    told = act(workshop, session, "blind.results")
    assert told["own"]["votes"] == told["all"]["votes"] == 1, "one ballot, though it speaks about two pairs"
    assert told["own"]["rows"][0]["name"] == session.notes["blind"].names[0][0]
    assert act(workshop, session, "blind.export").count("\r\n") == 3


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


def test_history_is_searched_noted_starred_and_restored(workshop: Workshop) -> None:
    session = workshop.session(OWNER)
    heard(workshop, session)
    act(workshop, session, "mixer.preset", name="experiment-slerp")
    heard(workshop, session)
    rows = act(workshop, session, "history.list")["rows"]
    assert [row["recipe"]["method"] for row in rows] == ["slerp", "ties"]
    note = "${alert(1)} <img src=x onerror=alert(1)>"
    act(workshop, session, "history.note", id=rows[1]["id"], note=note, starred=True)
    (found,) = act(workshop, session, "history.list", search="onerror", starred=True)["rows"]
    assert (found["id"], found["note"], found["starred"]) == (rows[1]["id"], note, True)
    act(workshop, session, "history.restore", id=rows[1]["id"])
    assert session.recipe.method == "ties"
    act(workshop, session, "history.delete", id=rows[0]["id"])
    assert all(row["id"] != rows[0]["id"] for row in act(workshop, session, "history.list")["rows"])


def test_history_names_a_clip_in_both_languages_while_it_is_there(workshop: Workshop) -> None:
    session = workshop.session(OWNER)
    heard(workshop, session)
    sample = workshop.clips.samples[0]
    workshop.clips._samples[sample.id] = replace(sample, name=Text("Погода", "The weather"))
    (row,) = act(workshop, session, "history.list")["rows"]
    assert row["clip"] == {"ru": "Погода", "en": "The weather"}
    del workshop.clips._samples[sample.id]
    (row,) = act(workshop, session, "history.list")["rows"]
    assert row["clip"] == {"ru": sample.name.ru, "en": sample.name.ru}


def test_history_belongs_to_its_owner(workshop: Workshop) -> None:
    ann, bob = workshop.session("ann-" + "a" * 22), workshop.session("bob-" + "b" * 22)
    heard(workshop, ann)
    key = act(workshop, ann, "history.list")["rows"][0]["id"]
    for name in ("history.restore", "history.delete", "history.note"):
        with pytest.raises(NotFound):
            act(workshop, bob, name, id=key, note="x")


def test_history_travels_as_a_file(workshop: Workshop) -> None:
    session, other = workshop.session(OWNER), workshop.session("other-" + "o" * 20)
    heard(workshop, session)
    heard(workshop, other)
    text = act(workshop, session, "history.export")
    before = len(act(workshop, other, "history.list")["rows"])
    assert act(workshop, other, "history.import", text=text) == 1
    rows = act(workshop, other, "history.list")["rows"]
    assert len(rows) == before + 1
    assert rows[0]["recipe"] == json.loads(text)["experiments"][0]["recipe"]
    for bad in ("no json", "{}", '{"format": "whisper-merge-history-1", "experiments": [{"recipe": 1}]}'):
        with pytest.raises(BadRecipe):
            act(workshop, other, "history.import", text=bad)
    assert len(act(workshop, other, "history.list")["rows"]) == before + 1


def test_what_is_exported_is_what_was_heard(workshop: Workshop) -> None:
    session = workshop.session(OWNER)
    act(workshop, session, "mixer.preset", name="different-data")
    heard(workshop, session)
    act(workshop, session, "export.start", name="моя модель")
    finished(workshop, session, "export")
    job = finished(workshop, session, "proof")
    told = {**session.get("export"), "proof": job.result}
    assert told["folder"] == "моя модель"
    assert told["proof"]["equal"] == told["proof"]["total"] > 80
    assert told["proof"]["texts"]["same"] is True
    names = {file["name"] for file in told["result"]["files"]}
    assert {"model.safetensors", "config.json", "recipe.json", "README.md"} <= names
    assert json.loads(act(workshop, session, "export.file", name="recipe.json"))["recipe"] == session.recipe.to_json()
    for name in ("../data/history.sqlite", "model.safetensors.nothing", "/etc/passwd"):
        with pytest.raises(NotFound):
            act(workshop, session, "export.file", name=name)


def held(release: threading.Event) -> Any:
    def work(job: Job) -> Generator[None, None, None]:
        while not release.wait(0.01):
            job.check()
        yield

    return work


def test_an_export_that_ends_while_its_owners_queue_is_full_is_proved_all_the_same(workshop: Workshop) -> None:
    session, release = workshop.session(OWNER), threading.Event()
    heard(workshop, session)
    blocker = workshop.worker.submit("other", "other", held(release))
    writing = workshop.worker.submit("other", "other", held(release), lane="disk")
    act(workshop, session, "export.start", name="full")
    for number in range(3):  # with the export itself, as many as anybody may have
        workshop.worker.submit(session.owner, f"kind{number}", held(release))
    assert workshop.worker.cancel("other", writing.id)
    finished_export = next(job for job in workshop.worker.jobs(session.owner) if job.kind == "export")
    assert finished_export.wait(SECONDS)
    release.set()
    assert blocker.wait(SECONDS)
    assert finished(workshop, session, "proof").result["equal"] > 80
    assert workshop.worker.alive()
    assert session.notes["follow"] == {}


def test_a_model_that_goes_before_the_proof_fails_the_proof_and_not_the_export(
    workshop: Workshop, demo_folder: Path, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    shutil.copytree(demo_folder / "models", root)
    lab = Workshop(replace(workshop.settings, data=tmp_path / "lab", demo_models=root), uploads=tmp_path)
    release = threading.Event()
    try:
        session = lab.session(OWNER)
        heard(lab, session)
        lab.worker.submit("other", "other", held(release))
        act(lab, session, "mixer.live", live=False)
        act(lab, session, "models.choose", role="b", ref="base")
        act(lab, session, "export.start", name="gone")
        assert finished(lab, session, "export").result["files"]
        shutil.rmtree(root / "base")
        release.set()
        (job,) = (job for job in lab.worker.jobs(session.owner) if job.kind == "proof")
        assert job.wait(SECONDS) and job.state is JobState.FAILED
        assert job.error is not None and job.error["code"] == "MISSING_FILE"
        told = session.get("export")
        assert told["job"]["state"] == "done"
        assert lab.worker.alive()
    finally:
        release.set()
        lab.close()


def test_no_export_is_written_over_another(workshop: Workshop) -> None:
    ann, bob = workshop.session("ann-" + "a" * 22), workshop.session("bob-" + "b" * 22)
    root, release = workshop.settings.export_root, threading.Event()
    (root / "mine").mkdir()
    (root / "mine" / "note.txt").write_text("kept", encoding="utf-8")
    writing = workshop.worker.submit("other", "other", held(release), lane="disk")
    for session in (ann, bob):  # the second while the first has written nothing yet
        act(workshop, session, "export.start", name="mine")
    assert [session.get("export")["folder"] for session in (ann, bob)] == ["mine 2", "mine 3"]
    release.set()
    assert writing.wait(SECONDS)
    for session in (ann, bob):
        finished(workshop, session, "export")
        finished(workshop, session, "proof")
        assert act(workshop, session, "export.file", name="recipe.json")
    assert [file.name for file in (root / "mine").iterdir()] == ["note.txt"]
    assert {folder.name for folder in root.iterdir() if folder.name.startswith("mine")} == {"mine", "mine 2", "mine 3"}


def test_a_proof_notices_a_single_changed_weight(workshop: Workshop) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    from ui.export import tensors_equal

    session = workshop.session(OWNER)
    heard(workshop, session)
    act(workshop, session, "export.start", name="changed")
    job = finished(workshop, session, "export")
    finished(workshop, session, "proof")
    folder = workshop.settings.export_root / "changed"
    tensors = load_file(folder / "model.safetensors")
    live = {name: tensor.clone() for name, tensor in tensors.items()}
    assert tensors_equal(folder, live, job) == (len(tensors), len(tensors))
    name = "model.decoder.layers.0.fc1.weight"
    tensors[name][0, 0] = torch.nextafter(tensors[name][0, 0].float(), torch.tensor(9.0)).half() + 0.001
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    assert tensors_equal(folder, live, job) == (len(tensors) - 1, len(tensors))


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
