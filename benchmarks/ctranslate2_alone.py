"""CTranslate2 in a process of its own: beside torch's threads it takes three times as long. Prints JSON.

    python -m benchmarks.ctranslate2_alone MODEL REQUEST.npz    # by `benchmarks.live`
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from statistics import median

import numpy as np


def main() -> None:
    """Time encoding and writing the text of one window; medians in ms."""
    sys.modules["torch"] = None  # type: ignore[assignment]  # which would be loaded where it is installed
    import ctranslate2

    folder, request = sys.argv[1], np.load(sys.argv[2])
    threads = int(request["threads"])
    model = ctranslate2.models.Whisper(folder, device="cpu", compute_type="float32", intra_threads=threads)
    features = ctranslate2.StorageView.from_array(np.ascontiguousarray(request["features"]))
    prompt, suppress = request["prompt"].tolist(), request["suppress"].tolist()

    def write() -> list[int]:
        result = model.generate(
            features, [prompt], beam_size=1, max_length=int(request["most_tokens"]), suppress_blank=True,
            suppress_tokens=suppress,
        )  # fmt: skip
        return list(result[0].sequences_ids[0])

    found = {"ms": _median(write), "encoder_ms": _median(lambda: model.encode(features)), "tokens": write()}
    print(json.dumps(found))


def _median(work: Callable[[], object]) -> float:
    """As `benchmarks.timing` does, which needs torch."""
    taken = []
    for _ in range(12):
        began = time.perf_counter()
        work()
        taken.append(1e3 * (time.perf_counter() - began))
    return round(median(taken[3:]), 3)


if __name__ == "__main__":
    main()
