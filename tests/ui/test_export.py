"""Exports and their proof."""

import json
import os
import shutil
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from tests.ui.acting import SECONDS, act, finished, heard, held
from tests.ui.conftest import OWNER
from ui import export
from ui.errors import ExportsFull, NotFound
from ui.local_executor import LocalExecutor
from ui.worker import JobState
from ui.workshop import Workshop


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
    own = replace(workshop.settings, data=tmp_path / "lab", demo_models=root)
    lab = Workshop(own, uploads=tmp_path, executors=[LocalExecutor("cpu")])
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

    from ui.proof import tensors_equal

    session = workshop.session(OWNER)
    heard(workshop, session)
    act(workshop, session, "export.start", name="changed")
    job = finished(workshop, session, "export")
    finished(workshop, session, "proof")
    folder = workshop.settings.export_root / "changed"
    tensors = load_file(folder / "model.safetensors")
    live = {name: tensor.clone() for name, tensor in tensors.items()}
    assert tensors_equal(folder, live, job.cancelled) == (len(tensors), len(tensors))
    name = "model.decoder.layers.0.fc1.weight"
    tensors[name][0, 0] = torch.nextafter(tensors[name][0, 0].float(), torch.tensor(9.0)).half() + 0.001
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    assert tensors_equal(folder, live, job.cancelled) == (len(tensors) - 1, len(tensors))


def test_exports_have_a_limit_and_what_vanishes_while_they_are_weighed_does_not_count(
    workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "weighed"
    (root / "shard").mkdir(parents=True)
    (root / "shard" / "a.bin").write_bytes(bytes(300))
    (root / "b.bin").write_bytes(bytes(50))
    assert export._size_of(root) == 350
    walk = list(os.walk(root))
    vanishing = [(folder, below, [*names, "gone"]) for folder, below, names in walk]
    monkeypatch.setattr("ui.export.os.walk", lambda root: vanishing)
    assert export._size_of(root) == 350
    monkeypatch.undo()
    workshop.settings = replace(workshop.settings, max_exports_gb=1e-6)
    session = workshop.session(OWNER)
    heard(workshop, session)
    with pytest.raises(ExportsFull):
        export.submit(workshop, OWNER, session.recipe, session.models, "too much")
