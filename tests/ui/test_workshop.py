"""A visit: what is there at first, what is kept, what comes back."""

import asyncio
import json
import shutil
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from merger.errors import PathNotAllowed
from merger.recipe import MergeRecipe
from tests.ui.acting import SECONDS, act, awaited, heard
from tests.ui.conftest import OWNER
from ui import views
from ui.catalog import PRESETS, method_catalog
from ui.errors import ClipNotChosen, HubNotAllowed, ModelsNotChosen, NotFound
from ui.executor import Pair
from ui.local_executor import LocalExecutor
from ui.sessions import Session, owner_of
from ui.settings import Settings
from ui.worker import JobState
from ui.workshop import Workshop


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


def test_a_change_that_arrives_while_the_session_begins_is_kept(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page that was opened by a link watches and asks at the same moment."""
    entered, release = threading.Event(), threading.Event()
    verdict = workshop.models.verdict

    def slow(models: Mapping[str, str | None]) -> dict[str, Any]:
        if not entered.is_set():
            entered.set()
            assert release.wait(SECONDS)
        return verdict(models)

    monkeypatch.setattr(workshop.models, "verdict", slow)
    owner = owner_of("a-link-with-a-recipe-in-it")
    link = MergeRecipe.build("linear").to_json() | {"sources": {"a": "a", "b": "b", "c": "base"}}

    def paste() -> Any:
        return act(workshop, workshop.session(owner), "mixer.paste", text=json.dumps(link))

    with ThreadPoolExecutor(2) as pool:
        watching = pool.submit(workshop.session, owner)
        assert entered.wait(SECONDS)
        pasting = pool.submit(paste)
        time.sleep(0.3)  # time enough to change what is only half furnished
        release.set()
        assert pasting.result(SECONDS) == {"missing": []}
        session = watching.result(SECONDS)
    assert session.recipe.method == session.get("recipe")["method"] == "linear"
    assert session.models["c"] == session.get("models")["roles"]["c"]["ref"] == "base"


def test_of_two_changes_at_once_the_later_one_is_told_last(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    session = workshop.session(OWNER)
    entered, release = threading.Event(), threading.Event()
    key = workshop.wanted_key

    def slow(session: Session) -> str:
        if not entered.is_set():
            entered.set()
            release.wait(0.3)  # the second change has this long to be told before the first
        return key(session)

    monkeypatch.setattr(workshop, "wanted_key", slow)

    def set_alpha(alpha: float) -> None:
        recipe = MergeRecipe.build("direct", {"direct_alpha": alpha})
        act(workshop, session, "mixer.set", recipe=recipe.to_json())

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(set_alpha, 0.1)
        assert entered.wait(SECONDS)
        second = pool.submit(set_alpha, 0.9)
        first.result(SECONDS), second.result(SECONDS)
    assert session.recipe.parameters["direct_alpha"] == session.get("recipe")["parameters"]["direct_alpha"]


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
    own = replace(workshop.settings, data=tmp_path / "lab", demo_models=root)
    lab = Workshop(own, uploads=tmp_path, executors=[LocalExecutor("cpu")])
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
    (device,) = workshop.worker.executors
    assert device.holds(Pair(workshop.sources(workshop.settings.default_models, PRESETS[0].recipe)))


def test_a_page_that_comes_back_gets_everything_again(workshop: Workshop) -> None:
    session = workshop.session(OWNER)
    heard(workshop, session)
    fresh = awaited(session.wait({}, 1.0))
    assert {"models", "recipe", "clip", "clips", "result", "job"} <= set(fresh)
    known = {name: slice_["version"] for name, slice_ in fresh.items()}
    assert awaited(session.wait(known, 0.05)) == {}
    session.publish(swap=None)
    assert set(awaited(session.wait(known, 1.0))) == {"swap"}
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

    assert awaited(wait_and_publish()) == {"swap"}


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


def test_without_models_and_samples_the_page_says_what_to_choose(tmp_path: Path) -> None:
    nothing = Settings(data=tmp_path, export_root=tmp_path / "e", demo_models=tmp_path / "x", samples=tmp_path / "y")
    views.load()
    workshop = Workshop(nothing, executors=[LocalExecutor("cpu")])
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
    workshop = Workshop(replace(settings, profile="space"), executors=[LocalExecutor("cpu")])
    try:
        session = workshop.session(OWNER)
        act(workshop, session, "export.start", name="mine")
        assert session.get("export")["folder"].startswith("merge-")
        (job,) = [one for one in workshop.worker.jobs(session.owner) if one.kind == "export"]
        assert job.wait(SECONDS) and job.state is JobState.DONE
        with pytest.raises(NotFound):  # nobody has signed in, and the server's own token is not for strangers
            act(workshop, session, "export.push", repository="lab/model")
    finally:
        workshop.close()
