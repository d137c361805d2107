"""Many people at once on the app as it is started: `python -m benchmarks.serve_load --clients 50 --requests 1000`.

Every client has a clip and a recipe of its own on the demo pair (CPU). What each has to get is computed first, alone
and without a server; an answer that differs is crosstalk. While they wait, others move the mixer's slider on a
page, and scripts ask `/status`, again and again: the echoes of the interface. Then one client repeats one request.
Prints JSON; seconds, bytes, medians, 99th percentiles.
"""

import argparse
import itertools
import json
import os
import secrets
import statistics
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError

from evaluation.audio import AudioLimits, load_clip
from merger.checkpoint import open_checkpoint
from merger.recipe import MergeRecipe
from tests.faults.server import ROOT, Server
from ui.comparison import SIDES
from ui.executor import Pair
from ui.local_executor import LocalExecutor
from ui.memory import resident_bytes

ECHOES = 5  # pages on which a slider moves, and as many scripts that only ask
ECHO_PAUSE = 0.2
LENGTH = 4.0  # seconds of a clip at most


def spread(seconds: Sequence[float]) -> dict[str, float]:
    """Median, 99th percentile (the next higher value) and largest."""
    ordered = sorted(seconds)
    top = ordered[min(len(ordered) - 1, int(np.ceil(0.99 * len(ordered))) - 1)]
    middle = statistics.median(ordered)
    return {"count": len(ordered), "p50": round(middle, 3), "p99": round(top, 3), "max": round(ordered[-1], 3)}


def clips(folder: Path, count: int) -> list[Path]:
    """`count` recordings that differ: samples of the demo, each time from another place on."""
    import soundfile

    sources = [
        load_clip(ROOT / "demo" / "samples" / json.loads(line)["audio_filepath"], AudioLimits())
        for line in (ROOT / "demo" / "samples" / "manifest.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    made = []
    for number in range(count):
        source = sources[number % len(sources)]
        start = 1600 * (number // len(sources))
        made.append(folder / f"{number}.wav")
        soundfile.write(made[-1], source.samples[start : start + int(LENGTH * 16_000)], 16_000, subtype="PCM_16")
    return made


def recipe(number: int, count: int) -> MergeRecipe:
    return MergeRecipe.build("direct", {"direct_alpha": round(number / max(1, count - 1), 3)})


def expected(paths: Sequence[Path]) -> list[dict[str, str]]:
    """What each client has to get, computed here one after the other."""
    pair = Pair({role: open_checkpoint(ROOT / "demo" / "models" / role) for role in ("a", "b", "base")})
    device, found = LocalExecutor("cpu"), []
    for number, path in enumerate(paths):
        written = device.hear(
            pair, recipe(number, len(paths)), SIDES, load_clip(path, AudioLimits()), cancelled=lambda: False
        )
        found.append({side: written[side].transcript.text for side in SIDES})
    device.close()
    return found


def memory(server: Server) -> dict[str, int]:
    """Resident bytes of the server and of the processes that it started, and what they share counted once (PSS)."""
    assert server.process is not None
    own = server.process.pid
    children = [int(pid) for pid in Path(f"/proc/{own}/task/{own}/children").read_text().split()]
    pss = sum(
        int(line.split()[1]) * 1024
        for pid in (own, *children)
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines() if line.startswith("Pss:")
    )  # fmt: skip
    return {"server": resident_bytes(own), "devices": sum(map(resident_bytes, children)), "together_pss": pss}


def ask(client: Client, path: Path, wanted: MergeRecipe) -> tuple[float, dict[str, Any] | str]:
    started = time.perf_counter()
    try:
        told: dict[str, Any] | str = client.predict(handle_file(str(path)), wanted.to_json(), None, api_name="/compare")
    except AppError as error:
        told = str(error).split(":", 1)[0]
    return time.perf_counter() - started, told


class Page:
    """A page on which somebody moves a slider, without a browser; it does not listen while the slider moves."""

    def __init__(self, server: Server) -> None:
        self._http = httpx.Client(base_url=f"{server.address}/gradio_api", timeout=600.0)
        config = httpx.get(f"{server.address}/config").json()
        island = next(one["id"] for one in config["components"] if "act" in one["props"].get("server_fns", ()))
        self._asked = {"component_id": island, "session_hash": secrets.token_hex(8), "fn_name": "act"}
        self._owner = secrets.token_hex(16)
        self._known: dict[str, int] = {}  # versions of what the page shows, so that only news is sent
        self.act("mixer.live", live=False)

    def act(self, action: str, **payload: Any) -> None:
        data = {"owner": self._owner, "action": action, "payload": payload, "known": self._known}
        answer = self._http.post("/component_server", json={**self._asked, "data": data}).raise_for_status().json()
        assert "error" not in answer, answer
        self._known |= {name: fresh["version"] for name, fresh in answer["slices"].items()}

    def move(self, number: int) -> None:
        self.act("mixer.set", recipe=recipe(number % 100, 100).to_json())


def at_once(server: Server, paths: Sequence[Path], right: Sequence[dict[str, str]]) -> dict[str, Any]:
    """All clients at the same moment."""
    with ThreadPoolExecutor(10) as pool:
        made = list(pool.map(lambda _: server.client(), range(len(paths) + ECHOES)))
    people, scripts = made[: len(paths)], made[len(paths) :]
    over, together = threading.Event(), threading.Barrier(len(paths))
    moved, asked = list[float](), list[float]()

    def again(do: Callable[[int], Any], echoes: list[float]) -> None:
        for number in itertools.takewhile(lambda _: not over.is_set(), itertools.count()):
            started = time.perf_counter()
            do(number)
            echoes.append(time.perf_counter() - started)
            over.wait(ECHO_PAUSE)

    def come(number: int) -> tuple[float, dict[str, Any] | str]:
        together.wait()
        return ask(people[number], paths[number], recipe(number, len(paths)))

    watching = [threading.Thread(target=again, args=(Page(server).move, moved)) for _ in range(ECHOES)]
    for script in scripts:
        status = partial(script.predict, None, api_name="/status")
        watching.append(threading.Thread(target=again, args=(lambda _, status=status: status(), asked)))
    for thread in watching:
        thread.start()
    started = time.perf_counter()
    with ThreadPoolExecutor(len(paths)) as pool:
        answers = list(pool.map(come, range(len(paths))))
    seconds = time.perf_counter() - started
    over.set()
    for thread in watching:
        thread.join()
    done = [(took, told, one) for (took, told), one in zip(answers, right, strict=True) if isinstance(told, dict)]
    audio = sum(told["audio_seconds"] for _, told, _ in done)
    return {
        "clients": len(paths),
        "done": len(done),
        "refused": sum(told == "QUEUE_FULL" for _, told in answers),
        "failed": [told for _, told in answers if isinstance(told, str) and told != "QUEUE_FULL"],
        "crosstalk": sum(any(told[side]["text"] != one[side] for side in SIDES) for _, told, one in done),
        "different_answers": len({json.dumps(one, sort_keys=True) for one in right}),
        "seconds": round(seconds, 3),
        "results_per_second": round(len(done) / seconds, 3),
        "rtfx_of_three_models": round(3 * audio / seconds, 2),
        "result_seconds": spread([took for took, _, _ in done]),
        "slider_seconds": spread(moved),
        "status_seconds": spread(asked),
    }


def again_and_again(server: Server, path: Path, count: int) -> dict[str, Any]:
    """One request, repeated, after a tenth as many to warm up; tells the memory after every hundredth."""
    client, wanted, took = server.client(), recipe(1, 3), []
    warm = max(1, count // 10)
    for _ in range(warm):
        ask(client, path, wanted)
    before = memory(server)
    for number in range(1, count + 1):
        took.append(ask(client, path, wanted)[0])
        if number % 100 == 0:
            print(json.dumps({"requests": number, "bytes": memory(server)}), file=sys.stderr, flush=True)
    after = memory(server)
    growth = {name: round(100 * (after[name] / before[name] - 1), 2) for name in before}
    return {"requests": count, "warm_up": warm, "seconds": spread(took), "before": before, "growth_percent": growth}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--requests", type=int, default=1000, help="identical requests afterwards; 0: none")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        paths = clips(folder, given.clients)
        right = expected(paths)
        # One machine stands for all clients, so the limit per address is lifted; those per person and in all stay.
        server = Server(folder / "data", ROOT / "demo", ADDRESS_REQUESTS_PER_MINUTE="1000000",
                        ADDRESS_REQUEST_BURST="100000", REQUESTS_PER_MINUTE="100000", REQUEST_BURST="10000",
                        UPLOADS_PER_MINUTE="100000")  # fmt: skip
        try:
            server.start()
            server.client().predict(recipe(1, 3).to_json(), api_name="/merge")
            told: dict[str, Any] = {"cores": os.cpu_count(), "memory_at_rest": memory(server)}
            told["at_once"] = at_once(server, paths, right)
            told["memory_after_load"] = memory(server)
            if given.requests:
                told["repeated"] = again_and_again(server, paths[0], given.requests)
            with urllib.request.urlopen(f"{server.address}/healthz") as answer:
                told["health"] = json.load(answer)["status"]
        finally:
            server.close()
    print(json.dumps(told, indent=2))


if __name__ == "__main__":
    main()
