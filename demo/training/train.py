"""Trains one stage of the demo models: the base from scratch, or a fine-tune of it.

    python -m demo.training.train base --plan PLAN --speech CHUNKS --processor DIR --out base.pt --minutes 10
    python -m demo.training.train a    … --start base.pt --out a.pt --minutes 2
    python -m demo.training.train b    … --start base.pt --out b.pt --minutes 2

A stage is given minutes, not steps: the learning rate follows the clock, so that it has reached zero when the time is
up. The loss is cross-entropy on the text plus an auxiliary CTC loss on the encoder (as in Watanabe et al. 2017, section
II-C); the CTC head only serves training.
"""

from __future__ import annotations

import argparse
import math
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import WhisperProcessor

from demo.speech.degrade import CLEAN, NEUTRAL, NOISY, Conditions
from demo.training.network import Network, NetworkSize, parameter_count
from demo.training.windows import IGNORED, LETTERS, SAMPLE_RATE, BatchPlan, BatchPlanner, Ear, SpeechPool, read_plan

# Encoder positions in a batch. Small buckets: (window in seconds, tokens of text); every run ends on windows of 30 s.
POSITIONS = 64_000
BUCKETS = ((3.6, 56), (7.2, 96))
FULL_TEXT = 320
CTC_WEIGHT, LABEL_SMOOTHING = 0.5, 0.05


@dataclass(frozen=True)
class Stage:
    """What a stage learns from. `short` is the share of its time spent on cut windows before real 30 s ones."""

    conditions: Conditions
    learning_rate: float
    short: float
    own: Callable[[SpeechPool], np.ndarray]  # places of the pool it may use


STAGES = {
    "base": Stage(NEUTRAL, 2e-3, 0.65, lambda pool: np.arange(len(pool.start))),
    "a": Stage(CLEAN, 6e-4, 0.0, lambda pool: np.flatnonzero(pool.domain_a & pool.formal)),
    "b": Stage(NOISY, 6e-4, 0.0, lambda pool: np.flatnonzero(~pool.domain_a & ~pool.formal)),
}
TIMESTAMPS = 0.4  # share of windows whose text is written with timestamps
EMPTY = 0.02  # share of windows without speech: nothing may be written


class Trainer:
    """One stage's training on one device."""

    def __init__(self, network: Network, pool: SpeechPool, stage: Stage, seed: int, compiled: bool) -> None:
        self.network, self.pool, self.stage = network, pool, stage
        self.ctc_head = nn.Linear(network.size.width, len(LETTERS) + 1).to(pool.device)
        self.planner = BatchPlanner(pool, TIMESTAMPS, EMPTY, seed)
        self.ear = Ear(pool, stage.conditions, seed)
        self.forward = torch.compile(network, dynamic=False) if compiled else network
        decayed = [p for p in self.parameters() if p.dim() > 1]
        plain = [p for p in self.parameters() if p.dim() <= 1]
        self.optimizer = torch.optim.AdamW(
            [{"params": decayed, "weight_decay": 0.01}, {"params": plain, "weight_decay": 0.0}],
            lr=stage.learning_rate, betas=(0.9, 0.98), fused=pool.device.type == "cuda",
        )  # fmt: skip

    def parameters(self) -> list[nn.Parameter]:
        return [p for p in (*self.network.parameters(), *self.ctc_head.parameters()) if p.requires_grad]

    def run(self, seconds: float, short_share: float, positions: int, partial: Path) -> int:
        """Trains for `seconds` of wall clock; returns the steps made. `partial` gets the weights every two minutes."""
        begun, steps, losses = time.monotonic(), 0, []
        last_refresh = last_log = last_saved = 0.0
        plans = _Prefetch(lambda progress: self._draw(progress < short_share, positions))
        try:
            while (elapsed := time.monotonic() - begun) < seconds:
                progress = elapsed / seconds
                plans.progress = progress
                warm_up = min(1.0, (steps + 1) / 400)
                for group in self.optimizer.param_groups:
                    group["lr"] = self.stage.learning_rate * warm_up * 0.5 * (1 + math.cos(math.pi * progress))
                losses.append(self.step(plans.take()))
                steps += 1
                if elapsed - last_log > 15:
                    mean = torch.stack(losses).mean(0).tolist()
                    speech = f"{self.pool.hours:.1f} h of speech"
                    print(
                        f"{elapsed:6.0f} s  step {steps:6d}  text {mean[0]:.3f}  ctc {mean[1]:.3f}  {speech}",
                        flush=True,
                    )
                    losses, last_log = [], elapsed
                if elapsed - last_saved > 120:
                    save_network(self.network, partial)
                    last_saved = elapsed
                if elapsed - last_refresh > 20 and elapsed < 0.6 * seconds:
                    self.pool.refresh()
                    last_refresh = elapsed
        finally:
            plans.stop()
        return steps

    def _draw(self, short: bool, positions: int) -> BatchPlan:
        with self.pool.lock:
            return self._draw_locked(short, positions)

    def _draw_locked(self, short: bool, positions: int) -> BatchPlan:
        own = self.stage.own(self.pool)
        if not short:
            return self.planner.full(own, max(1, positions // 1500), FULL_TEXT)
        window, text = BUCKETS[int(self.planner.rng.random() < 0.4)]
        samples = int(window * SAMPLE_RATE)
        return self.planner.short(own, max(1, positions // (samples // 320)), samples, text)

    def step(self, plan: BatchPlan) -> Tensor:
        """One update; returns the detached losses (text, CTC)."""
        device = self.pool.device
        log_mel = self.ear.hear(plan)
        line = torch.from_numpy(plan.tokens).to(device)
        text, labels = line[:, :-1].clamp_min(0), line[:, 1:]
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            logits, memory = self.forward(log_mel, text)
            spelled = self.ctc_head(memory)
        text_loss = F.cross_entropy(
            logits.flatten(0, 1).float(), labels.flatten(), ignore_index=IGNORED, label_smoothing=LABEL_SMOOTHING
        )
        counts = torch.from_numpy(plan.letter_count).to(device)
        ctc = F.ctc_loss(
            spelled.float().log_softmax(-1).transpose(0, 1), torch.from_numpy(plan.letters).to(device),
            torch.full_like(counts, memory.shape[1]), counts, zero_infinity=True,
        )  # fmt: skip
        self.optimizer.zero_grad(set_to_none=True)
        (text_loss + CTC_WEIGHT * ctc).backward()
        nn.utils.clip_grad_norm_(self.parameters(), 1.0)
        self.optimizer.step()
        return torch.stack([text_loss.detach(), ctc.detach()])


class _Prefetch:
    """Draws batch plans on a thread, a few ahead of the device."""

    def __init__(self, draw: Callable[[float], BatchPlan]) -> None:
        self.progress = 0.0
        self._draw, self._queue, self._running = draw, queue.Queue(maxsize=6), True
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def _work(self) -> None:
        try:
            while self._running:
                plan = self._draw(self.progress)
                while self._running:
                    try:
                        self._queue.put(plan, timeout=0.5)
                        break
                    except queue.Full:
                        continue
        except BaseException as error:
            self._error = error

    def take(self) -> BatchPlan:
        while True:
            try:
                return self._queue.get(timeout=1.0)
            except queue.Empty:
                if self._error is not None:
                    raise self._error from None

    def stop(self) -> None:
        self._running = False
        self._thread.join()


def load_network(path: Path, device: torch.device) -> Network:
    saved = torch.load(path, map_location="cpu", weights_only=True)
    network = Network(NetworkSize(**saved["size"]))
    network.load_state_dict(saved["weights"])
    return network.to(device)


def save_network(network: Network, path: Path) -> None:
    weights = {name: tensor.detach().cpu() for name, tensor in network.state_dict().items()}
    torch.save({"size": network.size.to_json(), "weights": weights}, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stage", choices=STAGES)
    parser.add_argument("--plan", type=Path, required=True)
    parser.add_argument("--speech", type=Path, required=True, help="folder of chunks; may still be growing")
    parser.add_argument("--processor", type=Path, required=True)
    parser.add_argument("--start", type=Path, help="weights to go on from; without it, from scratch")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--short", type=float, help="share of cut windows (default: the stage's)")
    parser.add_argument("--learning-rate", type=float)
    parser.add_argument("--hours", type=float, default=200, help="room for this much speech on the device")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--positions", type=int, default=POSITIONS)
    parser.add_argument("--compile", action="store_true")
    arguments = parser.parse_args()
    torch.manual_seed(arguments.seed)
    torch.backends.cuda.matmul.allow_tf32 = True
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    tokenizer = WhisperProcessor.from_pretrained(arguments.processor).tokenizer
    network = (
        load_network(arguments.start, device) if arguments.start else Network(NetworkSize(len(tokenizer))).to(device)
    )
    stage = STAGES[arguments.stage]
    if arguments.learning_rate:
        stage = Stage(stage.conditions, arguments.learning_rate, stage.short, stage.own)
    pool = SpeechPool(arguments.speech, read_plan(arguments.plan), tokenizer, device, arguments.hours)
    while not pool.refresh() and pool.hours < 1:
        time.sleep(1)  # the synthesis has only begun
    print(
        f"{arguments.stage}: {parameter_count(network) / 1e6:.2f} M parameters, {pool.hours:.1f} h of speech",
        flush=True,
    )
    trainer = Trainer(network, pool, stage, arguments.seed, arguments.compile)
    short = stage.short if arguments.short is None else arguments.short
    steps = trainer.run(arguments.minutes * 60, short, arguments.positions, arguments.out.with_suffix(".partial.pt"))
    save_network(network, arguments.out)
    print(f"{arguments.stage}: {steps} steps, saved {arguments.out}", flush=True)


if __name__ == "__main__":
    main()
