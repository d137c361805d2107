"""Training windows, made on the device: sentences from the pool are placed, degraded, turned into log-mel and labelled.

A *plan* of a batch (which sentence where) is drawn on the CPU by numpy; what touches samples runs on the device.
"""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from transformers import WhisperTokenizer

from demo.speech.degrade import Conditions, degrade
from evaluation.features import HOP, N_FFT, SAMPLE_RATE, mel_filters

MAX_WINDOW = 30 * SAMPLE_RATE
LETTERS = "абвгдеёжзийклмнопрстуфхцчшщъыьэюя "  # CTC targets; 0 is the blank
IGNORED = -100  # label that the loss skips


class SpeechPool:
    """All speech that has been synthesised so far, in one int16 tensor on the device."""

    def __init__(
        self, folder: Path, plan: list[dict[str, str]], tokenizer: WhisperTokenizer, device: torch.device, hours: float
    ) -> None:
        self.folder, self.plan, self.tokenizer, self.device = folder, plan, tokenizer, device
        self.samples = torch.zeros(int(hours * 3600 * SAMPLE_RATE), dtype=torch.int16, device=device)
        self.used = 0
        self._seen: set[str] = set()
        self.start, self.length = np.zeros(0, np.int64), np.zeros(0, np.int64)
        self.domain_a, self.formal = np.zeros(0, bool), np.zeros(0, bool)
        self.tokens: list[list[int]] = []
        self.letters: list[list[int]] = []
        self.lock = threading.Lock()  # batches are drawn on another thread than the one that takes chunks in

    def refresh(self) -> bool:
        """Takes in chunks written since the last call. True when synthesis has finished and everything is in."""
        finished = (self.folder / "done").exists()
        for path in sorted(self.folder.glob("[0-9][0-9][0-9][0-9][0-9].npz")):
            if path.name not in self._seen:
                self._seen.add(path.name)
                self._add(np.load(path))
        return finished

    def _add(self, chunk: np.lib.npyio.NpzFile) -> None:
        samples, lengths = chunk["samples"], chunk["lengths"]
        if self.used + len(samples) > len(self.samples):
            return  # the pool is full; what is in it is more than a stage consumes
        self.samples[self.used : self.used + len(samples)] = torch.from_numpy(samples).to(self.device)
        starts = self.used + np.cumsum(lengths) - lengths
        self.used += len(samples)
        lines = [self.plan[place] for place in chunk["lines"]]
        with self.lock:
            self._index(lines, starts, lengths)

    def _index(self, lines: list[dict[str, str]], starts: np.ndarray, lengths: np.ndarray) -> None:
        self.tokens += self.tokenizer([" " + line["text"] for line in lines], add_special_tokens=False).input_ids
        self.letters += [to_letters(line["text"]) for line in lines]
        self.start = np.append(self.start, starts)
        self.length = np.append(self.length, lengths)
        self.domain_a = np.append(self.domain_a, [line["domain"] == "A" for line in lines])
        self.formal = np.append(self.formal, [line["style"] == "formal" for line in lines])

    @property
    def hours(self) -> float:
        return float(self.length.sum()) / SAMPLE_RATE / 3600


@dataclass
class BatchPlan:
    """Which sentence stands where in each row; samples are counted from the row's beginning."""

    window: int  # samples
    source: np.ndarray  # int64[rows, slots]: first sample in the pool
    offset: np.ndarray  # int64[rows, slots]: first sample in the row
    length: np.ndarray  # int64[rows, slots]: samples, 0 for an empty slot
    clip: np.ndarray  # int64[rows]: samples after which the row is digital silence
    tokens: np.ndarray  # int64[rows, text + 1]: decoder input and, shifted by one, the labels
    letters: np.ndarray  # int64[rows, letters]
    letter_count: np.ndarray  # int64[rows]


class BatchPlanner:
    """Draws batches. `choose` is the places of the pool that the stage may use."""

    def __init__(self, pool: SpeechPool, timestamps: float, empty: float, seed: int) -> None:
        self.pool, self.timestamps, self.empty = pool, timestamps, empty
        self.rng = np.random.default_rng(seed)
        special = pool.tokenizer.convert_tokens_to_ids
        self.prompt = [special(t) for t in ("<|startoftranscript|>", "<|ru|>", "<|transcribe|>")]
        self.no_timestamps, self.no_speech = special("<|notimestamps|>"), special("<|nospeech|>")
        self.first_timestamp, self.end = special("<|0.00|>"), special("<|endoftext|>")

    def short(self, choose: np.ndarray, rows: int, window: int, text: int) -> BatchPlan:
        """One sentence a row, cut to `window` samples: the fast way to learn sounds and words."""
        fitting = choose[self.pool.length[choose] < window - SAMPLE_RATE // 4]
        picked = self.rng.choice(fitting, rows)
        room = np.minimum(window - self.pool.length[picked], SAMPLE_RATE // 2)
        rows_of_slots = [[(int(p), int(self.rng.integers(0, r)))] for p, r in zip(picked, room, strict=True)]
        return self._assemble(rows_of_slots, window, text, slots=1)

    def full(self, choose: np.ndarray, rows: int, text: int, slots: int = 8) -> BatchPlan:
        """Real 30 s windows: one sentence, a few, or as many as fit."""
        rows_of_slots = []
        for _ in range(rows):
            wanted = int(self.rng.choice([1, 2, 3, 4, slots], p=[0.45, 0.15, 0.1, 0.1, 0.2]))
            placed, cursor = [], int(self.rng.integers(0, SAMPLE_RATE))
            for place in self.rng.choice(choose, wanted):
                end = cursor + int(self.pool.length[place])
                if end > MAX_WINDOW:
                    break
                placed.append((int(place), cursor))
                cursor = end + int(self.rng.integers(SAMPLE_RATE // 20, SAMPLE_RATE))
            rows_of_slots.append(placed)
        return self._assemble(rows_of_slots, MAX_WINDOW, text, slots)

    def _assemble(self, rows_of_slots: list[list[tuple[int, int]]], window: int, text: int, slots: int) -> BatchPlan:
        rows = len(rows_of_slots)
        source, offset, length = (np.zeros((rows, slots), np.int64) for _ in range(3))
        clip = np.zeros(rows, np.int64)
        tokens = np.full((rows, text + 1), IGNORED, np.int64)
        letters, letter_count = np.zeros((rows, 3 * text), np.int64), np.zeros(rows, np.int64)
        for row, placed in enumerate(rows_of_slots):
            is_empty = self.rng.random() < self.empty
            if is_empty:
                placed = []  # noqa: PLW2901
            for slot, (place, start) in enumerate(placed):
                source[row, slot], offset[row, slot] = self.pool.start[place], start
                length[row, slot] = self.pool.length[place]
            spoken_until = max((start + int(self.pool.length[place]) for place, start in placed), default=window // 2)
            clip[row] = window if self.rng.random() < 0.1 else spoken_until + self.rng.integers(0, SAMPLE_RATE // 2)
            line = self._line(placed)[: text + 1]
            tokens[row, : len(line)] = line
            spelled = _joined([self.pool.letters[place] for place, _ in placed])[: 3 * text]
            letters[row, : len(spelled)], letter_count[row] = spelled, len(spelled)
        return BatchPlan(window, source, offset, length, clip, tokens, letters, letter_count)

    def _line(self, placed: list[tuple[int, int]]) -> list[int]:
        """The decoder's token sequence of a row, prompt included."""
        if not placed and self.rng.random() < 0.5:
            return [self.prompt[0], self.no_speech]
        if self.rng.random() >= self.timestamps:
            body = [token for place, _ in placed for token in self.pool.tokens[place]]
            return [*self.prompt, self.no_timestamps, *body, self.end]
        body = []
        for place, start in placed:
            end = start + int(self.pool.length[place])
            body += [self._timestamp(start), *self.pool.tokens[place], self._timestamp(end)]
        return [*self.prompt, *body, self.end]

    def _timestamp(self, sample: int) -> int:
        return self.first_timestamp + min(1500, round(sample / SAMPLE_RATE / 0.02))


class Ear:
    """Turns a batch plan into log-mel on the device, with the stage's conditions."""

    def __init__(self, pool: SpeechPool, conditions: Conditions, seed: int) -> None:
        self.pool, self.conditions = pool, conditions
        self.device = pool.device
        self.generator = torch.Generator(self.device).manual_seed(seed)
        self.log_mel = LogMel(self.device)

    def hear(self, plan: BatchPlan) -> Tensor:
        """float32[rows, 80, frames]."""
        speech = self._place(plan)
        with torch.no_grad():
            return self._mask(self.log_mel(self._degrade(speech, plan)))

    def _place(self, plan: BatchPlan) -> Tensor:
        time = torch.arange(plan.window, device=self.device)
        speech = torch.zeros((len(plan.clip), plan.window), device=self.device)
        source, offset, length = (torch.from_numpy(x).to(self.device) for x in (plan.source, plan.offset, plan.length))
        for slot in range(source.shape[1]):
            inside = time[None] - offset[:, slot, None]
            valid = (inside >= 0) & (inside < length[:, slot, None])
            index = source[:, slot, None] + inside.clamp(min=0).minimum((length[:, slot, None] - 1).clamp_min(0))
            speech += torch.where(valid, self.pool.samples[index].float() / 32768, 0.0)
        return speech

    def _degrade(self, speech: Tensor, plan: BatchPlan) -> Tensor:
        heard = degrade(speech, self.conditions, self._babble(plan), self.generator)
        time = torch.arange(plan.window, device=self.device)
        return heard * (time[None] < torch.from_numpy(plan.clip).to(self.device)[:, None])

    def _babble(self, plan: BatchPlan) -> Tensor:
        rows, talkers = len(plan.clip), 4
        first = torch.rand((talkers, rows), generator=self.generator, device=self.device) * (
            self.pool.used - plan.window - 1
        )
        index = first.long()[:, :, None] + torch.arange(plan.window, device=self.device)
        return sum(self.pool.samples[i].float() for i in index) / 32768  # type: ignore[return-value]

    def _mask(self, log_mel: Tensor) -> Tensor:
        """SpecAugment (Park et al. 2019, arXiv:1904.08779): one band of up to 12 mel bins, two gaps of up to 0.25 s."""
        rows, bins, frames = log_mel.shape
        draws = self._uniform(6, rows)
        for axis, size, widest, start, width in ((1, bins, 12, 0, 1), (2, frames, 25, 2, 3), (2, frames, 25, 4, 5)):
            place = torch.arange(size, device=self.device)
            first = (draws[start] * (size - widest)).floor()[:, None]
            band = (place[None] >= first) & (place[None] < first + (draws[width] * widest).floor()[:, None])
            log_mel = log_mel.masked_fill(band.unsqueeze(2 if axis == 1 else 1), 0.0)
        return log_mel

    def _uniform(self, count: int, rows: int) -> Tensor:
        return torch.rand((count, rows), generator=self.generator, device=self.device)


class LogMel:
    """`evaluation.features.log_mel` for a batch: float32[rows, samples] → float32[rows, 80, samples / 160]."""

    def __init__(self, device: torch.device) -> None:
        self.filters = mel_filters(80, str(device))
        self.window = torch.hann_window(N_FFT, device=device)

    def __call__(self, samples: Tensor) -> Tensor:
        power = torch.stft(samples, N_FFT, HOP, window=self.window, return_complex=True)[..., :-1].abs().square()
        log = (self.filters @ power).clamp_min(1e-10).log10()
        return (log.maximum(log.amax((1, 2), keepdim=True) - 8.0) + 4.0) / 4.0


def to_letters(text: str) -> list[int]:
    """Lower-case letters and single spaces as CTC classes (1-based); everything else is dropped."""
    kept = "".join(letter if letter in LETTERS else " " for letter in text.lower())
    return [LETTERS.index(letter) + 1 for letter in " ".join(kept.split())]


def _joined(parts: list[list[int]]) -> list[int]:
    space = LETTERS.index(" ") + 1
    return [letter for i, part in enumerate(parts) for letter in ([space, *part] if i else part)]


def read_plan(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
