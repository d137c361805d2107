"""Sessions on real tiny models: what a person finds, changes, hears, and never gets of somebody else's."""

import asyncio
import errno
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evaluation.errors import BadAudio
from merger.errors import BadParameter, BadRecipe, DiskFull, PathNotAllowed
from merger.recipe import MergeRecipe
from merger.registry import methods
from tests.ui.conftest import OWNER, write_tone
from ui import views
from ui.catalog import PRESETS, method_catalog
from ui.errors import ClipNotChosen, HubNotAllowed, ModelsNotChosen, NotFound
from ui.listen import crossed, hearing_verdict
from ui.mixer import mirrored
from ui.sessions import Session, owner_of
from ui.settings import Settings
from ui.views import ACTIONS
from ui.worker import JobState
from ui.workshop import Workshop

SECONDS = 60.0
TEXTS = ("Мама мыла раму.", "Мама мыла рану.", "")


def act(workshop: Workshop, session: Session, action: str, /, **payload: Any) -> Any:
    return ACTIONS[action](workshop, session, payload)


def heard(workshop: Workshop, session: Session) -> dict[str, Any]:
    """The session's result once its latest job is over."""
    assert session.job is not None
    job = workshop.worker.job(session.owner, session.job)
    assert job is not None and job.wait(SECONDS), "the job did not end"
    assert job.state is JobState.DONE, job.error
    return session.get("result")


def test_a_first_visit_finds_the_pair_a_sample_and_hears_it(workshop: Workshop) -> None:
    session = workshop.session(OWNER)
    assert session.get("models")["verdict"]["state"] == "ok"
    assert session.get("recipe")["preset"] == "start"
    assert session.get("clip")["name"]["ru"].startswith("Первая запись")
    result = heard(workshop, session)
    assert {"a", "merged", "b", "slots"} <= set(result)
    assert result["digest"] == session.get("recipe")["key"]
    assert result["a"]["wer"] is not None  # the sample's manifest says what was really said
    assert len(result["slots"]) >= max(len(result[side]["words"]) for side in ("a", "merged", "b"))


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


@pytest.mark.parametrize(
    ("ref", "error"),
    [
        ("/etc", PathNotAllowed),
        ("../..", PathNotAllowed),
        ("nowhere", PathNotAllowed),
        ("someone/model", HubNotAllowed),
    ],
)
def test_models_that_may_not_be_opened(workshop: Workshop, ref: str, error: type[Exception]) -> None:
    session = workshop.session(OWNER)
    with pytest.raises(error):
        act(workshop, session, "models.choose", role="a", ref=ref)
    assert session.models["a"] == "a"


def test_a_model_that_changes_on_disk_is_opened_and_heard_anew(
    workshop: Workshop, demo_folder: Path, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    shutil.copytree(demo_folder / "models", root)
    lab = Workshop(replace(workshop.settings, data=tmp_path / "lab", demo_models=root), uploads=tmp_path)
    try:
        session = lab.session(OWNER)
        before, opened = heard(lab, session), lab.models.open("a")
        assert lab.models.open("a") is opened
        trained = root / "a" / "new.part"
        shutil.copy(root / "b" / "model.safetensors", trained)
        trained.replace(root / "a" / "model.safetensors")  # as training writes: same name, same size, other weights
        assert lab.models.open("a") is not opened
        act(lab, session, "compare.run")
        after = heard(lab, session)
        assert after["a"]["text"] == before["b"]["text"] != before["a"]["text"]
    finally:
        lab.close()


def test_an_upload_is_taken_over_heard_and_forgotten(workshop: Workshop, tmp_path: Path) -> None:
    session = workshop.session(OWNER)
    upload = write_tone(tmp_path / "uploads" / "x.wav", pitch=333.0)
    act(workshop, session, "clips.add", path=str(upload), name="../../моя <b>запись</b>.wav")
    assert not upload.exists()
    clip = session.get("clip")
    assert clip["name"]["ru"] == "b>.wav" == clip["name"]["en"]
    assert "/" not in clip["name"]["ru"]
    assert heard(workshop, session)["clip"] == clip["id"]
    act(workshop, session, "clips.forget", id=clip["id"])
    assert session.get("clips")["shelf"] == []
    with pytest.raises(NotFound):
        workshop.clips.find(session.owner, clip["id"])


def test_a_file_that_was_not_uploaded_is_refused(workshop: Workshop, tmp_path: Path) -> None:
    session = workshop.session(OWNER)
    outside = write_tone(tmp_path / "outside.wav")
    (tmp_path / "uploads" / "link.wav").symlink_to(outside)
    for path in (outside, tmp_path / "uploads" / "link.wav", Path("/etc/passwd")):
        with pytest.raises(BadAudio):
            act(workshop, session, "clips.add", path=str(path), name="x.wav")
    assert outside.exists()


def test_a_full_disk_is_named_and_leaves_nothing(
    workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = workshop.session(OWNER)
    upload = write_tone(tmp_path / "uploads" / "x.wav", pitch=377.0)

    def full(source: Path, target: Path) -> None:
        Path(target).write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("ui.clips.shutil.move", full)
    with pytest.raises(DiskFull, match="DISK_FULL"):
        act(workshop, session, "clips.add", path=str(upload), name="x.wav")
    assert list((workshop.settings.data / "clips").rglob("*")) == [workshop.settings.data / "clips" / session.owner]


def test_nobody_hears_somebody_elses_upload(workshop: Workshop, tmp_path: Path) -> None:
    ann, bob = workshop.session("ann-" + "a" * 22), workshop.session("bob-" + "b" * 22)
    act(workshop, ann, "clips.add", path=str(write_tone(tmp_path / "uploads" / "x.wav", pitch=401.0)), name="x.wav")
    clip_id = ann.get("clip")["id"]
    with pytest.raises(NotFound):
        act(workshop, bob, "clips.choose", id=clip_id)
    signature = workshop.clips.address(ann.owner, clip_id).rsplit("/", 1)[1].removesuffix(".wav")
    assert workshop.clips.signed(ann.owner, clip_id, signature)
    assert not workshop.clips.signed(bob.owner, clip_id, signature)


def test_a_reference_scores_without_listening_again(workshop: Workshop) -> None:
    session = workshop.session(OWNER)
    result = heard(workshop, session)
    job = session.job
    written = {side: {**result[side], "text": text} for side, text in zip(("a", "merged", "b"), TEXTS, strict=True)}
    session.publish(result={**result, **written})
    act(workshop, session, "listen.reference", text="  мама  мыла раму ")
    assert [session.get("result")[side]["wer"] for side in ("a", "merged", "b")] == [0.0, pytest.approx(1 / 3), 1.0]
    assert session.get("clip")["reference"] == "мама мыла раму"
    act(workshop, session, "listen.reference", text="")
    assert session.get("result")["merged"]["wer"] is None
    assert session.job == job


def test_who_hears_who_writes_is_made_of_both_models(workshop: Workshop) -> None:
    session = workshop.session(OWNER)
    result = heard(workshop, session)
    act(workshop, session, "listen.swap")
    job = workshop.worker.job(session.owner, session.job or "")
    assert job is not None and job.wait(SECONDS) and job.state is JobState.DONE
    cells = session.get("swap")["cells"]
    assert cells["aa"]["text"] == result["a"]["text"] and cells["bb"]["text"] == result["b"]["text"]
    assert set(cells) == {"aa", "ab", "ba", "bb"}
    recipe = crossed("b", "a")
    assert recipe.parameters["direct_alpha"] == 1.0
    assert recipe.parts["encoder"]["direct_alpha"].anchors == (0.0,)


@pytest.mark.parametrize(
    ("texts", "word"),
    [
        (("да", "да", "да", "да"), "same"),
        (("да", "да", "нет", "нет"), "hearing"),
        (("да", "нет", "да", "нет"), "writing"),
        (("да", "нет", "нет", "да"), "both"),
    ],
)
def test_the_verdict_of_the_swap(texts: tuple[str, ...], word: str) -> None:
    cells = {key: {"text": text} for key, text in zip(("aa", "ab", "ba", "bb"), texts, strict=True)}
    assert word in hearing_verdict(cells).en


def test_every_experiment_is_kept(workshop: Workshop) -> None:
    session = workshop.session(OWNER)
    result = heard(workshop, session)
    (kept,) = workshop.store.experiments(session.owner)
    assert kept.recipe == session.recipe.to_json() and kept.sources["a"]["location"] == "a"
    assert kept.transcripts["merged"].text == result["merged"]["text"]
    assert workshop.store.experiments("somebody else") == []


def test_a_mixture_heard_again_is_no_new_experiment(workshop: Workshop) -> None:
    session = workshop.session(OWNER)
    heard(workshop, session)
    for name in ("experiment-slerp", "start", "experiment-slerp"):
        act(workshop, session, "mixer.preset", name=name)
        heard(workshop, session)
    assert [one.recipe["method"] for one in workshop.store.experiments(session.owner)] == ["slerp", "ties"]


def test_the_default_pair_is_loaded_before_anybody_comes(workshop: Workshop) -> None:
    workshop.warm_up()
    (job,) = workshop.worker.jobs("warm-up")
    assert job.wait(SECONDS) and job.state is JobState.DONE
    assert workshop.pairs.holds(workshop.sources(workshop.settings.default_models, PRESETS[0].recipe))


def test_a_page_that_comes_back_gets_everything_again(workshop: Workshop) -> None:
    session = workshop.session(OWNER)
    heard(workshop, session)
    fresh = asyncio.run(session.wait({}, 1.0))
    assert {"models", "recipe", "clip", "clips", "result", "job"} <= set(fresh)
    known = {name: slice_["version"] for name, slice_ in fresh.items()}
    assert asyncio.run(session.wait(known, 0.05)) == {}
    session.publish(swap=None)
    assert set(asyncio.run(session.wait(known, 1.0))) == {"swap"}
    assert workshop.session(OWNER) is session


def test_a_waiting_page_is_woken_by_another_thread(workshop: Workshop) -> None:
    session = workshop.session(OWNER)
    heard(workshop, session)

    async def wait_and_publish() -> set[str]:
        known = {name: slice_["version"] for name, slice_ in session.newer({}).items()}
        waiting = asyncio.create_task(session.wait(known, SECONDS))
        await asyncio.sleep(0)
        await asyncio.to_thread(session.publish, swap={"clip": "x"})
        return set(await waiting)

    assert asyncio.run(wait_and_publish()) == {"swap"}


@pytest.mark.parametrize("secret", ["", "short", "x" * 65, "a b" * 10, "../" * 10, "ю" * 30])
def test_what_is_no_secret_is_nobody(secret: str) -> None:
    with pytest.raises(ValueError, match="secret"):
        owner_of(secret)


def test_the_catalog_has_every_method_with_both_languages() -> None:
    catalog = {method["name"]: method for method in method_catalog()}
    assert [name for name, method in catalog.items() if method["guide"]] == ["direct", "slerp", "ties"]
    keys = [parameter["key"] for parameter in catalog["ties"]["parameters"]]
    assert keys == ["ties_density", "encoder_weights", "decoder_weights"]
    assert catalog["ties"]["summary"].keys() == {"ru", "en"}
    assert catalog["direct"]["parameters"][0]["ends"] == ["B", "A"]


def test_the_presets_are_the_guides_recommendations() -> None:
    recipes = {one.name: one.recipe.to_json() for one in PRESETS}
    assert recipes["start"]["parameters"] == {
        "ties_density": 0.8, "encoder_weights": [0.6, 0.4], "decoder_weights": [0.4, 0.6],
    }  # fmt: skip
    assert recipes["different-data"]["parameters"]["ties_density"] == 0.85
    assert recipes["formal-colloquial"]["parameters"]["decoder_weights"] == [0.6, 0.4]
    assert recipes["base-plus-detail"] == {"method": "slerp", "parameters": {"slerp_t": 0.3}}
    assert recipes["experiment-direct"] == {"method": "direct", "parameters": {"direct_alpha": 0.6}}


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


def test_without_models_and_samples_the_page_says_what_to_choose(tmp_path: Path) -> None:
    nothing = Settings(data=tmp_path, export_root=tmp_path / "e", demo_models=tmp_path / "x", samples=tmp_path / "y")
    views.load()
    workshop = Workshop(nothing)
    try:
        workshop.warm_up()
        session = workshop.session(OWNER)
        assert session.get("models")["verdict"]["state"] == "none"
        assert session.get("clip") is None and session.job is None
        with pytest.raises(ClipNotChosen):
            act(workshop, session, "compare.run")
        with pytest.raises(ModelsNotChosen, match="model A, model B"):
            act(workshop, session, "export.start")
    finally:
        workshop.close()


def test_on_a_public_server_nobody_names_a_folder(settings: Settings) -> None:
    views.load()
    workshop = Workshop(replace(settings, public=True))
    try:
        session = workshop.session(OWNER)
        act(workshop, session, "export.start", name="mine")
        assert session.get("export")["folder"].startswith("merge-")
        (job,) = [one for one in workshop.worker.jobs(session.owner) if one.kind == "export"]
        assert job.wait(SECONDS) and job.state is JobState.DONE
        with pytest.raises(BadRecipe, match="lab/model"):
            act(workshop, session, "export.push", repository="lab/model")
    finally:
        workshop.close()
