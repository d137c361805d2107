"""Whole runs on tiny real models: resumed equals unbroken, nothing is transcribed twice, recipes are merged in
memory."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from evaluation.evaluate import evaluate, report_again
from evaluation.local import LocalExecutor
from evaluation.manifest import Manifest, read_manifest
from evaluation.predictions import FILE_NAME, Prediction, PredictionFile, read_predictions
from evaluation.runner import RunOptions, RunProgress, Work, plan_work, run, run_steps
from evaluation.systems import System, plan_systems
from merger.errors import BadParameter, Cancelled
from merger.recipe import MergeRecipe
from tests.conftest import TinyPair
from tests.evaluation.trio import write_corpus

OPTIONS = RunOptions(batch=2, repeats=0, max_new_tokens=8, device="cpu")


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return read_manifest(write_corpus(tmp_path_factory.mktemp("corpus")))


@pytest.fixture(scope="module")
def systems(trio: TinyPair) -> list[System]:
    recipes = [("ties", MergeRecipe.build("ties")), ("alpha1", MergeRecipe.build("direct", {"direct_alpha": 1.0}))]
    return plan_systems({"base": str(trio.base), "a": str(trio.a), "b": str(trio.b)}, recipes)


@pytest.fixture(scope="module")
def unbroken(manifest: Manifest, systems: list[System], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unbroken")
    run(manifest, systems, folder, OPTIONS)
    return folder


def texts(folder: Path) -> dict[tuple[str, str], str]:
    found = {(p.system, p.id): p.text for p in read_predictions(folder / FILE_NAME)}
    assert len(found) == sum(1 for _ in read_predictions(folder / FILE_NAME))  # no line twice
    return found


def test_every_system_and_clip_once(unbroken: Path, systems: list[System], manifest: Manifest) -> None:
    assert texts(unbroken).keys() == {(s.name, e.id) for s in systems for e in manifest.entries}


def test_a_recipe_that_is_a_writes_what_a_writes(unbroken: Path, manifest: Manifest) -> None:
    found = texts(unbroken)
    assert [found["alpha1", e.id] for e in manifest.entries] == [found["a", e.id] for e in manifest.entries]


class Dying(LocalExecutor):
    """Loses its process after some batches."""

    def __init__(self, batches: int) -> None:
        super().__init__()
        self.left = batches

    def run(self, work: Sequence[Work], options: RunOptions) -> Iterator[tuple[Work, list[Prediction]]]:
        for done in super().run(work, options):
            if not self.left:
                raise KeyboardInterrupt
            self.left -= 1
            yield done


class Counting(LocalExecutor):
    def run(self, work: Sequence[Work], options: RunOptions) -> Iterator[tuple[Work, list[Prediction]]]:
        self.seen = [(w.system.name, e.id) for w in work for e in w.entries]
        yield from super().run(work, options)


@pytest.mark.parametrize("batches", [1, 7])
def test_resumed_equals_unbroken(
    manifest: Manifest, systems: list[System], unbroken: Path, tmp_path: Path, batches: int
) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(manifest, systems, tmp_path, OPTIONS, executor=Dying(batches))
    done = texts(tmp_path)
    assert len(done) == 2 * batches
    with (tmp_path / FILE_NAME).open("a") as file:
        file.write('{"system": "ties", "mod')  # the kill cut a line off
    executor = Counting()
    run(manifest, systems, tmp_path, OPTIONS, resume=True, executor=executor)
    assert texts(tmp_path) == texts(unbroken)
    assert done.keys().isdisjoint(executor.seen)


def test_resume_of_a_finished_run_loads_nothing(manifest: Manifest, systems: list[System], unbroken: Path) -> None:
    executor = Counting()
    found = run(manifest, systems, unbroken, OPTIONS, resume=True, executor=executor)
    assert executor.seen == [] and len(found) == 30


def test_other_options_are_other_predictions(manifest: Manifest, systems: list[System], unbroken: Path) -> None:
    assert OPTIONS.settled().decoding_hash() != RunOptions(batch=2, max_new_tokens=9).settled().decoding_hash()
    assert (
        OPTIONS.settled().decoding_hash() == RunOptions(batch=2, max_new_tokens=8, repeats=5).settled().decoding_hash()
    )


def test_old_predictions_are_not_overwritten(manifest: Manifest, systems: list[System], unbroken: Path) -> None:
    with pytest.raises(BadParameter) as caught:
        run(manifest, systems, unbroken, OPTIONS)
    assert "--resume" in caught.value.remedy("ru")


def test_cancel_between_batches(manifest: Manifest, systems: list[System], tmp_path: Path) -> None:
    polls = iter([False, True])
    with pytest.raises(Cancelled):
        run(manifest, systems, tmp_path, OPTIONS, executor=LocalExecutor(lambda: next(polls)))
    assert len(texts(tmp_path)) == 2


def test_progress_counts_what_was_there(manifest: Manifest, systems: list[System], tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(manifest, systems[:1], tmp_path, OPTIONS, executor=Dying(1))
    told: list[RunProgress] = []
    run(manifest, systems[:1], tmp_path, OPTIONS, resume=True, on_progress=told.append)
    assert [(p.done_clips, p.total_clips) for p in told] == [(2, 6), (4, 6), (6, 6)]
    assert told[0].remaining is None and told[-1].remaining == 0.0
    assert told[-1].done_seconds == pytest.approx(told[-1].total_seconds)


def test_steps_stop_after_every_piece(
    manifest: Manifest, systems: list[System], unbroken: Path, tmp_path: Path
) -> None:
    """Who shares the device gets it after each clip; what is written is what a whole run writes."""
    steps = run_steps(manifest, systems[:2], tmp_path, OPTIONS, LocalExecutor(), piece=1)
    assert [progress.done_clips for progress in steps] == list(range(13))
    whole = texts(unbroken)
    assert texts(tmp_path) == {key: text for key, text in whole.items() if key[0] in {"base", "a"}}


def test_plan_longest_first_and_doubles_once(manifest: Manifest, systems: list[System]) -> None:
    doubled = Manifest(manifest.path, (*manifest.entries, *manifest.entries), manifest.sha256)
    work = plan_work(doubled, systems[:2], piece=4)
    assert [len(w.entries) for w in work] == [4, 2, 4, 2]
    durations = [e.duration for w in work[:2] for e in w.entries]
    assert durations == sorted(durations, reverse=True)


def test_a_whole_evaluation_and_its_report_again(
    manifest: Manifest, systems: list[System], unbroken: Path, tmp_path: Path
) -> None:
    results, page = evaluate(manifest, systems, unbroken, OPTIONS, lang="ru", resume=True)
    assert page.name == "report.html" and results.groups[0].clips == 6
    assert results.meta["manifest_sha256"] == manifest.sha256 and results.meta["device"].startswith("CPU")
    again, _ = report_again(manifest, unbroken, lang="en", level="L0")
    assert again.cell("overall", "all", "a", "wer") is not None and again.meta["level"] == "L0"
    assert "/".join(manifest.path.parts[1:3]) not in (unbroken / "results.json").read_text(encoding="utf-8")


def test_speed_is_measured_on_warm_models(manifest: Manifest, systems: list[System], tmp_path: Path) -> None:
    run(manifest, systems[:1], tmp_path, RunOptions(batch=4, repeats=3, max_new_tokens=2, device="cpu"))
    note = json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))
    assert len(note["speed"]["base"]) == 3 and all(rate > 0 for rate in note["speed"]["base"])


def test_keys_name_the_weights(trio: TinyPair, systems: list[System]) -> None:
    keys = [system.key for system in systems]
    assert len(set(keys)) == 5
    again = plan_systems({"x": str(trio.a), "y": str(trio.b)}, [("t", MergeRecipe.build("ties"))])
    assert [s.key for s in again] == [keys[1], keys[2], keys[3]]
    assert again[2].parents == {"a": "x", "b": "y"}
    other = plan_systems({"x": str(trio.b), "y": str(trio.a)}, [("t", MergeRecipe.build("ties"))])
    assert other[2].key != keys[3]


def test_what_cannot_be_planned(trio: TinyPair) -> None:
    recipe = MergeRecipe.build("direct")
    bad: list[tuple[dict[str, str], list[Any]]] = [
        ({}, []),
        ({"a": str(trio.a)}, [("m", recipe)]),
        ({"a": str(trio.a), "b": str(trio.b)}, [("a", recipe)]),
    ]
    for models, recipes in bad:
        with pytest.raises(BadParameter):
            plan_systems(models, recipes)


def test_a_file_of_predictions_takes_each_key_once(tmp_path: Path) -> None:
    file = PredictionFile(tmp_path / "p.jsonl")
    first = Prediction("a", "k", "d", "c1", "1", "да\n«нет»", 1.0, 0.1, "batch")
    assert file.append([first, first]) == 1 and file.append([first]) == 0
    assert PredictionFile(tmp_path / "p.jsonl").known == {first.key: first}
