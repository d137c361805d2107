"""Many windows through one model: b rows decode side by side, and a row that is done takes the next window at once.

The step is that of `device_loop`, captured on a GPU, so a batch costs hardly more launches than a single window, and no
row waits for the longest of its batch.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import torch

from evaluation.engine.batch_windows import INTAKE, KeyedWindows, Windows
from evaluation.engine.device_greedy import STEPS_PER_LOOK, make_plain_step
from evaluation.engine.device_loop import Captured, Rows, Start
from evaluation.engine.kernel_choice import fastest_batch
from evaluation.engine.model import encode, logits
from evaluation.engine.rules import Rules
from evaluation.engine.tensors import WhisperTensors
from merger.errors import Cancelled


@dataclass(frozen=True)
class Written:
    """What was written for one window: tokens without prompt and end token, and whether the end token came."""

    key: Hashable
    tokens: tuple[int, ...]
    finished: bool
    no_speech_probability: float


class ContinuousBatch:
    """Decodes any number of windows with `batch` rows of static caches.

    Of a GPU's memory encoding takes as much as `encoded_together` windows need, which take less time each than one.

    Used by one thread at a time. Weights are read where they lie, so the same object serves a live mixture after every
    merge.
    """

    def __init__(self, tensors: WhisperTensors, rules: Rules, batch: int) -> None:
        self.tensors, self.rules, self.batch = tensors, rules, batch
        self.encoded_together = min(INTAKE, batch) if tensors.device.type == "cuda" else 1
        self.rows = Rows(batch, tensors.target_positions, tensors.device)
        self.rows.park()
        self._windows: Windows
        if tensors.device.type == "cuda":
            self._windows, step = fastest_batch(tensors, self.rows, rules)
        else:
            windows = self._windows = KeyedWindows(tensors, batch)
            step = make_plain_step(tensors, windows.memory, self.rows, rules)
        self._step = Captured(step, tensors.device)
        self._keys: list[Hashable | None] = [None] * batch
        self._no_speech = [0.0] * batch

    @torch.inference_mode()
    def decode(
        self,
        windows: Iterable[tuple[Hashable, torch.Tensor]],
        prompt: Sequence[int],
        limit: int | Mapping[Hashable, int],
        cancelled: Callable[[], bool] | None = None,
    ) -> Iterator[Written]:
        """Each (key, log-mel float[mel_bins, 3000]) as it is done. Raises Cancelled between looks.

        limit: most tokens written for a window, the same for all or by key. `windows` are read as they are encoded: up
        to `encoded_together` before there is a row for them.
        """
        waiting = self._heard(iter(windows))
        limits = defaultdict(lambda: limit) if isinstance(limit, int) else limit
        self._keys = [None] * self.batch
        self.rows.park()
        self._refill(waiting, prompt, limits)
        while any(key is not None for key in self._keys):
            if cancelled is not None and cancelled():
                raise Cancelled
            for _ in range(STEPS_PER_LOOK):
                self._step()
            yield from self._collect()
            self._refill(waiting, prompt, limits)

    def _collect(self) -> Iterator[Written]:
        tokens, ended, done = self.rows.read()
        for row, key in enumerate(self._keys):
            if key is not None and done[row]:
                self._keys[row] = None
                yield Written(key, tuple(tokens[row]), ended[row], self._no_speech[row])

    def _heard(self, windows: Iterator[tuple[Hashable, torch.Tensor]]) -> Iterator[tuple[Hashable, torch.Tensor]]:
        """Each key with its encoder output [1500, d]."""
        while taken := list(islice(windows, self.encoded_together)):
            features = torch.stack([window for _, window in taken]).to(self.tensors.device, self.tensors.dtype)
            yield from zip((key for key, _ in taken), encode(self.tensors, features), strict=True)

    def _refill(
        self,
        waiting: Iterator[tuple[Hashable, torch.Tensor]],
        prompt: Sequence[int],
        limits: Mapping[Hashable, int],
    ) -> None:
        """Give idle rows their next windows."""
        idle = [row for row, key in enumerate(self._keys) if key is None]
        while idle and (taken := list(islice(waiting, min(len(idle), INTAKE)))):
            slots, idle = idle[: len(taken)], idle[len(taken) :]
            self._take_in(slots, taken, prompt, limits)

    def _take_in(
        self,
        slots: list[int],
        taken: list[tuple[Hashable, torch.Tensor]],
        prompt: Sequence[int],
        limits: Mapping[Hashable, int],
    ) -> None:
        tensors, count = self.tensors, len(taken)
        heard = torch.stack([output for _, output in taken])
        where = torch.tensor(slots, device=tensors.device)
        # The first step reads the prompt's last token once more, and chooses.
        ids = torch.tensor([list(prompt)] * count, device=tensors.device)
        hidden = self._windows.take_in(where, heard, ids)
        known = self.rules.vocabulary.no_speech
        start = logits(tensors, hidden[:, 0]).softmax(dim=-1)
        speechless = [0.0] * count if known is None else start[:, known].tolist()
        for row, (key, _), probability in zip(slots, taken, speechless, strict=True):
            self._keys[row], self._no_speech[row] = key, probability
        starts = zip(slots, taken, strict=True)
        self.rows.load(*(Start(row, prompt, self.rules.history(), [], limits[key]) for row, (key, _) in starts))
