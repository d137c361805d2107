"""Runs over Ray on this machine: the numbers of a local run, also when a worker dies in the middle."""

import os
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from evaluation.evaluate import evaluate
from evaluation.manifest import read_manifest
from evaluation.predictions import FILE_NAME, Prediction, read_predictions
from evaluation.runner import RunOptions, Work
from evaluation.systems import plan_systems
from merger.errors import BadParameter
from merger.recipe import MergeRecipe
from tests.conftest import TinyPair
from tests.evaluation.trio import write_corpus

cluster = pytest.importorskip("evaluation.cluster")
OPTIONS = RunOptions(batch=2, repeats=0, max_new_tokens=6, device="cpu")


class Assassin(cluster.RayExecutor):  # type: ignore[misc, name-defined]
    """Kills a worker's process with SIGKILL after the first batch came back."""

    def run(self, work: Sequence[Work], options: RunOptions) -> Iterator[tuple[Work, list[Prediction]]]:
        import ray

        for number, done in enumerate(super().run(work, options)):
            if number == 0:
                os.kill(ray.get(self.seats[0].actor.pid.remote()), signal.SIGKILL)
            yield done


def test_ray_equals_local_and_a_dead_worker_is_replaced(tmp_path: Path, trio: TinyPair) -> None:
    pytest.importorskip("ray", reason="requirements-cluster.txt is not installed")
    manifest = read_manifest(write_corpus(tmp_path))
    systems = plan_systems({"a": str(trio.a), "b": str(trio.b)}, [("ties", MergeRecipe.build("ties"))])
    local, _ = evaluate(manifest, systems, tmp_path / "local", OPTIONS, lang="en")
    executor = Assassin(workers=2)
    spread, _ = evaluate(manifest, systems, tmp_path / "ray", OPTIONS, lang="en", executor=executor)
    assert executor.replaced == 1
    texts = [
        {(p.system, p.id): p.text for p in read_predictions(tmp_path / name / FILE_NAME)} for name in ("local", "ray")
    ]
    assert texts[0] == texts[1] and len(texts[0]) == 18
    assert sum(1 for _ in read_predictions(tmp_path / "ray" / FILE_NAME)) == 18
    timed = {"rtfx"}
    assert [c for c in spread.cells if c.figure not in timed] == [c for c in local.cells if c.figure not in timed]


def test_without_ray_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, trio: TinyPair) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    manifest = read_manifest(write_corpus(tmp_path, clips=1))
    with pytest.raises(BadParameter) as caught:
        evaluate(
            manifest, plan_systems({"a": str(trio.a)}, []), tmp_path / "x", OPTIONS, lang="en",
            executor=cluster.RayExecutor(),
        )  # fmt: skip
    assert "requirements-cluster.txt" in caught.value.remedy("ru")
