"""What a batch keeps of its windows: encoder outputs, heard by the emulated kernel, against keys and values."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from evaluation.engine import cuda_hear, kernel_choice
from evaluation.engine.batch_windows import INTAKE, HeardWindows, KeyedWindows
from evaluation.engine.cuda_kernels import KernelLaunch, Program
from evaluation.engine.device_loop import Rows
from evaluation.engine.rules import Rules
from evaluation.engine.tensors import WhisperTensors, collect
from evaluation.vocabulary import Vocabulary
from merger.live import LiveMerge
from tests.evaluation.conftest import save_pair
from tests.evaluation.engine.emulated_kernels import Emulated
from tests.evaluation.engine.tiny_whisper import make_module, make_processor

ROWS, POSITIONS = 5, 70
TOLERANCE = 0.005


@pytest.fixture(scope="module")
def tensors(tmp_path_factory: pytest.TempPathFactory) -> WhisperTensors:
    folder = tmp_path_factory.mktemp("windows")
    pair = save_pair(folder, d_model=128, heads=2, layers=(1, 2), max_source_positions=POSITIONS)
    return collect(LiveMerge(*pair, device="cpu", dtype="float16").modules["a"])


@pytest.fixture
def emulation(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Launches run on the processor, as if it had three multiprocessors."""
    built: dict[Program, Emulated] = {}

    class EmulatedSequel:
        def __init__(self, program: Program, launches: Sequence[KernelLaunch], device: torch.device) -> None:
            self.launches, self.emulated = launches, built.setdefault(program, Emulated(program, tmp_path))

        def __call__(self) -> None:
            for launch in self.launches:
                self.emulated.run(launch, seed=1)

    monkeypatch.setattr(cuda_hear, "Sequel", EmulatedSequel)
    properties = SimpleNamespace(multi_processor_count=3)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)


def close(found: torch.Tensor, expected: torch.Tensor) -> bool:
    return float((found.float() - expected.float()).abs().max()) <= TOLERANCE * float(expected.float().abs().max())


@torch.inference_mode()
def test_rows_hear_what_keys_and_values_would_let_them_hear(
    tensors: WhisperTensors, emulation: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(5)
    heard, keyed = HeardWindows(tensors, ROWS), KeyedWindows(tensors, ROWS)
    q = torch.randn(ROWS, tensors.width).half()
    done = torch.zeros(ROWS, dtype=torch.bool)
    hearing = cuda_hear.Hearing(tensors, heard.memory.heard, heard.memory.windows, done)
    monkeypatch.setattr(cuda_hear, "MOST_ROWS", 8)  # so that a pass has room for two prompts of three tokens
    # the last ones take rows anew
    for rows, tokens in (([3, 0], [7, 1, 9]), ([1, 2, 4], [7, 2, 9]), ([0], [5]), ([3], [7, 1, 9])):
        sound = torch.randn(len(rows), POSITIONS, tensors.width).half()
        prompt = torch.tensor([tokens] * len(rows))
        hidden = [each.take_in(torch.tensor(rows), sound, prompt) for each in (heard, keyed)]
        assert hidden[0].shape == hidden[1].shape and close(*hidden)
        assert close(heard.memory.self_kv, keyed.memory.self_kv)
        last = heard._prompts[len(tokens)]
        assert last.most == (2 if len(tokens) == 3 else 8)
        assert (~last.memory.idle).sum() == ((len(rows) - 1) % last.most + 1) * len(tokens), "idle prompts are heard"
    for index in range(len(tensors.decoder)):
        expected = keyed.memory.hear(index, q.view(ROWS, 2, 1, 64)).transpose(1, 2).reshape(ROWS, -1)
        plain = heard.memory.hear(index, q.view(ROWS, 2, 1, 64)).transpose(1, 2).reshape(ROWS, -1)
        found = torch.full_like(q, float("nan"))
        hearing(index, q, found)
        assert close(plain, expected) and close(found, expected)


@torch.inference_mode()
def test_nothing_keeps_the_windows_of_a_batch_that_is_gone(tensors: WhisperTensors, emulation: None) -> None:
    gc.disable()
    try:
        windows = HeardWindows(tensors, ROWS)
        windows.take_in(torch.tensor([1]), torch.zeros(1, POSITIONS, tensors.width).half(), torch.tensor([[7]]))
        sound, prompts = weakref.ref(windows.memory.heard), weakref.ref(windows._prompts[1].memory)
        del windows
        assert sound() is None and prompts() is None
    finally:
        gc.enable()


@torch.inference_mode()
def test_the_kernel_is_tried_before_it_is_counted_on(
    tensors: WhisperTensors, emulation: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(kernel_choice, "_HEARS", {})
    assert kernel_choice.hearing_agrees(tensors) and not caplog.records
    monkeypatch.setattr(kernel_choice, "_HEARS", {})
    monkeypatch.setattr(cuda_hear.Hearing, "__call__", lambda hear, index, q, out: out.fill_(3.0))
    assert not kernel_choice.hearing_agrees(tensors) and "differ" in caplog.text


def test_without_the_kernel_a_batch_keeps_keys_and_values(
    tensors: WhisperTensors, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("triton")
    monkeypatch.setattr(kernel_choice, "hears_windows", lambda tensors, rows: True)
    rows = Rows(ROWS, tensors.target_positions, tensors.device)
    rows.park()
    rules = Rules(Vocabulary.of(make_module(0), make_processor().tokenizer), False, tensors.device)
    windows, step = kernel_choice.fastest_batch(tensors, rows, rules)
    assert isinstance(windows, KeyedWindows) and "hears encoder outputs is not used" in caplog.text
    step()


def test_what_a_row_takes(tensors: WhisperTensors) -> None:
    for windows in (HeardWindows, KeyedWindows):
        memory = windows(tensors, ROWS).memory
        kept = [memory.self_kv, memory.cross_kv if windows is KeyedWindows else memory.heard]  # type: ignore[union-attr]
        taken = sum(part.untyped_storage().nbytes() for part in kept)
        assert windows.nbytes(tensors, ROWS) == taken * (2 if windows is KeyedWindows else 1)  # as many are taken in
    few, many = (KeyedWindows.nbytes(tensors, INTAKE + rows) for rows in (0, 1))
    assert many - few == few / (2 * INTAKE)
    assert 2 * HeardWindows.nbytes(tensors, ROWS) < KeyedWindows.nbytes(tensors, ROWS)


def test_what_does_not_suit_is_refused(tensors: WhisperTensors) -> None:
    assert cuda_hear.suits(tensors, INTAKE) and not cuda_hear.suits(tensors, cuda_hear.MOST_ROWS + 1)
    windows = torch.zeros(cuda_hear.MOST_ROWS + 1, dtype=torch.int32)
    with pytest.raises(ValueError):
        cuda_hear.Hearing(tensors, HeardWindows(tensors, 1).memory.heard, windows, windows.bool())
