"""The executor for ZeroGPU: one lent call per request, plain data in and out, nothing on a device in this process."""

import json
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import numpy as np
import pytest

from deploy import probe
from evaluation.audio import AudioClip
from merger.checkpoint import open_checkpoint
from merger.errors import Cancelled, WhisperMergeError
from merger.recipe import MergeRecipe
from tests.conftest import TinyPair
from ui import zero_gpu
from ui.executor import DeviceLost, Pair
from ui.local_executor import LocalExecutor
from ui.zero_gpu import Call, GpuNotLent, Outcome, ZeroGpuExecutor, seconds

ROOT = Path(__file__).resolve().parents[2]
RECIPE = MergeRecipe.build("direct", {"direct_alpha": 0.25})


def never() -> bool:
    return False


def clip(length: float) -> AudioClip:
    t = np.arange(int(length * 16_000), dtype=np.float32) / 16_000
    samples = (0.4 * np.sin(1400 * t) * np.abs(np.sin(8 * t))).astype(np.float32)
    return AudioClip(samples=samples, seconds=length, sha256=f"clip-{length}", name="tone")


def pickling(duration: Callable[..., int]) -> Callable[..., Any]:
    """Decorates as `spaces.GPU` does, in this process: arguments and result are pickled, the duration is asked for."""

    def decorate(task: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            assert 1 <= duration(*arguments) <= 120
            return pickle.loads(pickle.dumps(task(*pickle.loads(pickle.dumps(arguments)))))

        return call

    return decorate


def refusing(message: str, **named: Any) -> Callable[..., Any]:
    def lend(duration: Any) -> Callable[..., Any]:
        def decorate(task: Any) -> Callable[..., Any]:
            def call(*arguments: Any) -> Any:
                raise gr.Error(message, **named)

            return call

        return decorate

    return lend


@pytest.fixture(autouse=True)
def no_lent_process() -> Iterator[None]:
    zero_gpu._lent = None
    yield
    if zero_gpu._lent is not None:
        zero_gpu._lent.close()
    zero_gpu._lent = None


@pytest.fixture
def pair(tiny_pair: TinyPair) -> Pair:
    return Pair({"a": open_checkpoint(tiny_pair.a), "b": open_checkpoint(tiny_pair.b)})


@pytest.fixture
def lent() -> Iterator[ZeroGpuExecutor]:
    executor = ZeroGpuExecutor("cpu", lend=pickling)
    yield executor
    executor.close()


@pytest.mark.parametrize(
    ("value", "expected"), [("true", True), ("1", True), ("T", True), ("false", False), ("", False), ("0", False)]
)
def test_taken_where_hugging_face_says_so(value: str, expected: bool) -> None:
    assert zero_gpu.wanted({"SPACES_ZERO_GPU": value}) is expected
    assert not zero_gpu.wanted({"SPACE_ID": "somebody/something"})


def test_it_is_the_executor_of_such_a_space(monkeypatch: pytest.MonkeyPatch) -> None:
    from ui.devices import executors_for

    made = SimpleNamespace(GPU=lambda duration: lambda task: task)
    monkeypatch.setitem(sys.modules, "spaces", made)
    monkeypatch.setenv("SPACES_ZERO_GPU", "true")
    (executor,) = executors_for(SimpleNamespace(device="auto"))
    assert isinstance(executor, ZeroGpuExecutor) and executor.whole
    executor.close()


def test_the_same_texts_as_a_device_of_ones_own(lent: ZeroGpuExecutor, pair: Pair) -> None:
    own, sound = LocalExecutor("cpu"), clip(2.0)
    expected = own.hear(pair, RECIPE, ("merged", "a", "b"), sound, never)
    found = lent.hear(pair, RECIPE, ("merged", "a", "b"), sound, never)
    assert {side: one.transcript.text for side, one in found.items()} == {
        side: one.transcript.text for side, one in expected.items()
    }
    assert found["merged"].applied is not None
    assert found["merged"].applied.digest == RECIPE.digest == lent.apply(pair, RECIPE, never).digest
    assert lent.starts == 2, "one call for three sides, one for the merge"
    own.close()


def test_nothing_is_called_only_to_load(lent: ZeroGpuExecutor, pair: Pair) -> None:
    assert lent.holds(pair)
    lent.load(pair, never)
    assert lent.check().seconds >= 0
    assert lent.starts == 0


def call(nbytes: float, method: str = "hear", length: float | None = None, **arguments: Any) -> Call:
    models = {"a": SimpleNamespace(nbytes=nbytes), "b": SimpleNamespace(nbytes=nbytes)}
    if length is not None:
        arguments["clip"] = SimpleNamespace(seconds=length)
    return Call(method, SimpleNamespace(checkpoints=models), "auto", "/nowhere", arguments)  # type: ignore[arg-type]


def test_seconds_that_are_asked_for() -> None:
    # 12 to start, 2 × 3 GB at 1 GB/s, 1 for the merge, three models × 60 s of audio at 12 s per second.
    assert seconds(call(3e9, length=60, sides=("merged", "a", "b"))) == 12 + 6 + 1 + 3 * 5
    # The proof reads the saved model as well, and hears twice, once with the slow loop (3 ×).
    assert seconds(call(3e9, "prove", length=60)) == 12 + 6 + 1 + 2 * 5 + 6 + 15
    assert seconds(call(1e6, "apply")) == zero_gpu.LEAST_SECONDS
    assert seconds(call(3e9, length=3600, sides=("merged",))) == zero_gpu.MOST_SECONDS


def test_a_stop_reaches_the_lent_process(pair: Pair) -> None:
    stopped, inside = threading.Event(), threading.Event()
    marks = []

    def lend(duration: Any) -> Callable[..., Any]:
        def decorate(task: Any) -> Callable[..., Any]:
            def run(order: Call) -> Outcome:
                marks.append(Path(order.stop))
                inside.set()
                for _ in range(100):
                    if marks[0].exists():
                        return Outcome(error=Cancelled())
                    time.sleep(0.02)
                return Outcome("nobody said stop")

            return run

        return decorate

    executor = ZeroGpuExecutor("cpu", lend=lend)
    threading.Thread(target=lambda: (inside.wait(), stopped.set()), daemon=True).start()
    with pytest.raises(Cancelled):
        executor.apply(pair, RECIPE, stopped.is_set)
    assert not marks[0].exists(), "the next call must not be stopped by it"
    with pytest.raises(Cancelled):
        executor.apply(pair, RECIPE, lambda: True)
    assert executor.starts == 1, "what nobody wants any more costs no call"
    executor.close()


def test_work_in_the_lent_process_polls_the_mark(pair: Pair, tmp_path: Path) -> None:
    mark = tmp_path / "stop"
    mark.touch()
    outcome = zero_gpu.carry_out(Call("apply", pair, "cpu", str(mark), {"recipe": RECIPE}))
    assert isinstance(outcome.error, Cancelled)


@pytest.mark.parametrize(
    ("message", "title", "reason"),
    [
        ("You have exceeded your free ZeroGPU quota (30s requested vs. 2s left).", "ZeroGPU quota exceeded", "quota"),
        ("Space app has reached its GPU limit. Try re-running outside of examples", "ZeroGPU quota exceeded", "quota"),
        ("No GPU was available after 60s. Retry later", "ZeroGPU queue timeout", "taken"),
        ("The requested GPU duration (300s) is larger than the maximum allowed", "ZeroGPU illegal duration", "long"),
        ("Expired ZeroGPU proxy token", "ZeroGPU client error", "as usual"),
    ],
)
def test_refusals_are_coded_in_two_languages(pair: Pair, message: str, title: str, reason: str) -> None:
    executor = ZeroGpuExecutor("cpu", lend=refusing(message, title=title))
    with pytest.raises(GpuNotLent) as refused:
        executor.apply(pair, RECIPE, never)
    assert reason in refused.value.sentence("en") and message not in refused.value.sentence("en")
    assert refused.value.sentence("ru") != refused.value.sentence("en")
    assert "huggingface.co" in refused.value.remedy("ru")
    executor.close()


@pytest.mark.parametrize("message", ["GPU task aborted", "RuntimeError"])
def test_a_call_that_was_cut_off_is_a_lost_device(pair: Pair, message: str) -> None:
    executor = ZeroGpuExecutor("cpu", lend=refusing(message, title="ZeroGPU worker error"))
    with pytest.raises(DeviceLost):
        executor.apply(pair, RECIPE, never)
    assert executor.status() == {"device": "zero-gpu", "state": "idle", "starts": 1, "lost": 1}
    executor.close()


def test_errors_come_back_as_they_were(lent: ZeroGpuExecutor, pair: Pair, tiny_pair: TinyPair) -> None:
    """Of an exception that leaves the lent process only the class's name would arrive."""
    needs_base = MergeRecipe.build("task-arithmetic", {})
    with pytest.raises(WhisperMergeError) as told:
        lent.apply(pair, needs_base, never)
    assert told.value.sentence("ru")
    with pytest.raises(RuntimeError, match="Traceback"):
        lent._call("no_such_method", pair, never)


def test_a_slider_waits_for_the_button(lent: ZeroGpuExecutor, tmp_path: Path) -> None:
    """Each move of it would be charged to the visitor; a device of one's own follows at once."""
    from ui import views
    from ui.settings import Settings
    from ui.workshop import Workshop

    views.load()
    for executor, live in ((lent, False), (LocalExecutor("cpu"), True)):
        folder = tmp_path / str(live)
        workshop = Workshop(Settings(data=folder, export_root=folder / "e", device="cpu"), executors=[executor])
        assert workshop.session("owner-" + "x" * 20).live is live
        workshop.close()


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """(address, log of the lent calls) of `python app.py` as a ZeroGPU Space starts it, on the demo pair."""
    folder = tmp_path_factory.mktemp("space")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = folder / "calls.jsonl"
    environment = {
        "PATH": os.environ["PATH"], "HOME": str(folder), "PYTHONPATH": str(ROOT / "tests/deploy/standin"),
        "SPACES_ZERO_GPU": "true", "SPACE_ID": "lab/whisper-merge", "SPACES_STANDIN_LOG": str(log),
        "TMPDIR": str(folder), "WHISPER_MERGE_DEVICE": "cpu",
        "GRADIO_SERVER_PORT": str(port), "GRADIO_SERVER_NAME": "127.0.0.1", "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    with (folder / "app.log").open("w") as output:
        app = subprocess.Popen([sys.executable, "app.py"], cwd=ROOT, env=environment, stdout=output, stderr=output)
        address = f"http://127.0.0.1:{port}"
        try:
            assert probe.main([f"{address}/studio/health", "90"]) == 0, (folder / "app.log").read_text()[-3000:]
            yield address, log
        finally:
            app.send_signal(signal.SIGTERM)
            assert app.wait(30) == 0, (folder / "app.log").read_text()[-3000:]


def test_a_space_compares_in_one_lent_call(space: tuple[str, Path]) -> None:
    from gradio_client import Client, handle_file

    address, log = space
    client = Client(address, verbose=False, headers={"X-IP-Token": "visitor-1"})
    told = []
    for alpha in (1.0, 0.0):
        sound = handle_file(str(ROOT / "demo/samples/colloquial-kitchen.ogg"))
        recipe = {"method": "direct", "parameters": {"direct_alpha": alpha}}
        told.append(client.predict(sound, recipe, None, api_name="/compare"))
    assert told[0]["merged"]["text"] == told[0]["a"]["text"] != ""
    assert told[1]["merged"]["text"] == told[1]["b"]["text"] != ""
    calls = [json.loads(line) for line in log.read_text().splitlines()]
    assert [one["account"] for one in calls] == ["visitor-1"] * 2, "one call per request, on the visitor's account"
    assert len({one["process"] for one in calls}) == 1, "a kept process is asked again"
    assert all(zero_gpu.LEAST_SECONDS <= one["asked"] <= zero_gpu.MOST_SECONDS for one in calls)
    assert all(one["bytes"] < 4_000_000 for one in calls), "weights do not travel"


def test_the_page_of_a_space_brings_the_visitors_quota(space: tuple[str, Path]) -> None:
    import urllib.request

    with urllib.request.urlopen(space[0], timeout=20) as answer:
        page = answer.read().decode()
    assert "zerogpu-headers" in page


def test_a_space_writes_to_its_temporary_folder(space: tuple[str, Path]) -> None:
    assert (space[1].parent / "whisper-merge" / "history.sqlite").is_file()
