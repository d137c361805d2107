"""What a batch keeps of its windows: encoder outputs, heard by the emulated kernel, against keys and values."""

from __future__ import annotations

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
def test_rows_hear_what_keys_and_values_would_let_them_hear(tensors: WhisperTensors, emulation: None) -> None:
    torch.manual_seed(5)
    heard, keyed = HeardWindows(tensors, ROWS), KeyedWindows(tensors, ROWS)
    q = torch.randn(ROWS, tensors.width).half()
    done = torch.zeros(ROWS, dtype=torch.bool)
    hearing = cuda_hear.Hearing(tensors, heard.memory.heard, heard.memory.windows, done)
    taken_in: list[list[int]] = [[3, 0], [1, 2, 4], [0]]  # the last one takes a row anew
    for rows in taken_in:
        sound = torch.randn(len(rows), POSITIONS, tensors.width).half()
        prompt = torch.tensor([[7, 1, 9]] * len(rows))
        hidden = [each.take_in(torch.tensor(rows), sound, prompt) for each in (heard, keyed)]
        assert close(*hidden)
        assert close(heard.memory.self_kv, keyed.memory.self_kv)
    for index in range(len(tensors.decoder)):
        expected = keyed.memory.hear(index, q.view(ROWS, 2, 1, 64)).transpose(1, 2).reshape(ROWS, -1)
        plain = heard.memory.hear(index, q.view(ROWS, 2, 1, 64)).transpose(1, 2).reshape(ROWS, -1)
        found = torch.full_like(q, float("nan"))
        hearing(index, q, found)
        assert close(plain, expected) and close(found, expected)


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
        taken = sum(part.untyped_storage().nbytes() for part in kept) / ROWS
        assert windows.row_nbytes(tensors) == taken
    assert HeardWindows.row_nbytes(tensors) < KeyedWindows.row_nbytes(tensors)


def test_what_does_not_suit_is_refused(tensors: WhisperTensors) -> None:
    assert cuda_hear.suits(tensors, INTAKE) and not cuda_hear.suits(tensors, cuda_hear.MOST_ROWS + 1)
    windows = torch.zeros(cuda_hear.MOST_ROWS + 1, dtype=torch.int32)
    with pytest.raises(ValueError):
        cuda_hear.Hearing(tensors, HeardWindows(tensors, 1).memory.heard, windows, windows.bool())
