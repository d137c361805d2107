"""Decides who says what: pairs sentences with voices, tempi and pitches.

    python -m demo.speech.plan --formal F.txt --colloquial C.txt --out PLAN.jsonl [--rhvoice N --others N]

RHVoice is the slow engine, so its share is set apart. Formal text goes mostly to domain A's voices and colloquial text
to domain B's, but a quarter crosses over: the base model has to know every voice with every kind of text.
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path

from demo.speech.voices import voices_of

CROSSOVER = 0.25
TEMPO = {"A": (0.9, 1.12), "B": (1.0, 1.3)}  # factors of the voice's own tempo: B is the fast speech
PITCH = (0.88, 1.12)


def make_plan(
    formal: list[str], colloquial: list[str], rhvoice: int, others: int, seed: int = 0
) -> list[dict[str, object]]:
    """`rhvoice + others` plan lines in random order; they carry `domain` and `style` for the training stages."""
    rng = random.Random(seed)
    plan = []
    for domain, count, own, other in (("A", rhvoice, formal, colloquial), ("B", others, colloquial, formal)):
        styles = {"A": ("formal", "colloquial"), "B": ("colloquial", "formal")}[domain]
        own_left, other_left = _shuffled(own, rng), _shuffled(other, rng)
        for _ in range(count):
            crosses = rng.random() < CROSSOVER
            source = other_left if crosses else own_left
            if not source:
                source.extend(_shuffled(other if crosses else own, rng))
            plan.append(
                {
                    "text": source.pop(),
                    "voice": rng.choice(voices_of(domain)).name,
                    "rate": round(rng.uniform(*TEMPO[domain]), 3),
                    "pitch": round(rng.uniform(*PITCH), 3),
                    "domain": domain,
                    "style": styles[crosses],
                }
            )
    rng.shuffle(plan)
    return plan


def _shuffled(lines: list[str], rng: random.Random) -> list[str]:
    return rng.sample(lines, len(lines))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--formal", type=Path, required=True)
    parser.add_argument("--colloquial", type=Path, required=True)
    parser.add_argument("--rhvoice", type=int, default=55_000, help="sentences for domain A's voices")
    parser.add_argument("--others", type=int, default=140_000, help="sentences for domain B's voices")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    formal, colloquial = (
        path.read_text(encoding="utf-8").splitlines() for path in (arguments.formal, arguments.colloquial)
    )
    with arguments.out.open("w", encoding="utf-8") as file:
        for line in make_plan(formal, colloquial, arguments.rhvoice, arguments.others):
            file.write(json.dumps(line, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
