"""Merges in child processes that are killed, and says what is left: run by test_faults.py, without torch.

    python kill_driver.py A B FOLDER    (cases as JSON on standard input, one finding per case on standard output)

A case is {"stage": name, "time": n} (the child kills itself when the merge reports that stage for the n-th time, the
first unless given), {"written": share} (when it has written that share of the weights), {"rename": n} (without the
exchange in one system call, before the n-th rename that takes its place) or {"delay": share} (it is killed after that
share of an undisturbed merge's time). {"old": true} puts a previous result in place first, {"all": true} merges the
guide's three methods into subfolders in one pass. The next start is a sweep, and then a merge that nobody disturbs.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from merger.checkpoint import open_checkpoint
from merger.disk import Progress, merge_outputs, merge_to_folder
from merger.errors import WhisperMergeError
from merger.output import OutputFile
from merger.recipe import MergeRecipe
from merger.transaction import MARK, sweep
from merger.verify import verify_folder

OLD, NEW = MergeRecipe.build("direct", {"direct_alpha": 0.25}), MergeRecipe.build("ties")
ALL = {name: MergeRecipe.build(name) for name in ("direct", "slerp", "ties")}


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_at_stage(stage: str | None, time: int) -> Callable[[Progress], None]:
    reported = 0

    def look(progress: Progress) -> None:
        nonlocal reported
        reported += progress.stage == stage
        if reported == time:
            die()

    return look


def die_when_written(nbytes: int) -> None:
    """Kill this process when that many bytes have been handed to the output files."""
    write, lock, written = OutputFile.write, threading.Lock(), 0

    def counting(self: OutputFile, data: np.ndarray, offset: int) -> None:
        nonlocal written
        write(self, data, offset)
        with lock:
            written += len(data)
            if written >= nbytes:
                die()

    OutputFile.write = counting  # type: ignore[method-assign]


def die_at_rename(number: int) -> None:
    """Kill this process before its n-th rename of a hidden folder, where folders cannot be exchanged."""
    rename, begun = os.rename, 0

    def counting(old: Any, new: Any) -> None:
        nonlocal begun
        begun += MARK in f"{old}{new}"
        if begun == number:
            die()
        rename(old, new)

    os.rename = counting  # type: ignore[assignment]
    ctypes.CDLL = lambda *_, **__: object()  # type: ignore[assignment,misc]


def child(sources: dict[str, Any], outputs: dict[Path, MergeRecipe], case: dict[str, Any]) -> int:
    """Start a merge in a forked process; returns its id."""
    process = os.fork()
    if process:
        return process
    if "written" in case:
        nbytes = sum(entry.nbytes for entry in sources["a"].weights().values())
        die_when_written(round(case["written"] * nbytes * len(outputs)))
    if "rename" in case:
        die_at_rename(case["rename"])
    merge_outputs(outputs, sources, on_progress=die_at_stage(case.get("stage"), case.get("time", 1)))
    os._exit(0)


def state(target: Path, new: MergeRecipe) -> str:
    """absent, old, new or broken."""
    if not target.exists():
        return "absent"
    try:
        found = verify_folder(target).record["recipe"]
    except WhisperMergeError as error:
        return f"broken: {error}"
    return next((name for name, recipe in (("old", OLD), ("new", new)) if found == recipe.to_json()), f"{found}")


def hidden(folder: Path) -> int:
    return sum(path.name.startswith(".") for path in folder.rglob("*"))


def outcome(sources: dict[str, Any], folder: Path, case: dict[str, Any], whole: float) -> dict[str, Any]:
    """Play one case; `whole` is the time of an undisturbed merge in seconds."""
    shutil.rmtree(folder)
    folder.mkdir()
    merged = folder / "merged"
    outputs = {merged / name: recipe for name, recipe in ALL.items()} if case.get("all") else {merged: NEW}
    beside = merged / "beside"  # a result in a subfolder, which no merge of this case replaces
    if case.get("old"):
        merge_outputs(dict.fromkeys(outputs, OLD), sources)
        merge_to_folder(OLD, sources, beside)
    process = child(sources, outputs, case)
    if "delay" in case:
        time.sleep(case["delay"] * whole)
        os.kill(process, signal.SIGKILL)
    killed = os.WIFSIGNALED(os.waitpid(process, 0)[1])
    visible = sorted(path.name for path in folder.glob("[!.]*"))
    if "rename" in case:
        sweep(folder)
    after = [state(target, recipe) for target, recipe in outputs.items()]
    merge_outputs(outputs, sources)
    following = [state(target, recipe) for target, recipe in outputs.items()]
    kept = state(beside, NEW) if case.get("old") else None
    return {"killed": killed, "visible": visible, "after": after, "next": following, "hidden": hidden(folder),
            "subfolder": kept}  # fmt: skip


def main() -> None:
    a, b, folder = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    sources = {"a": open_checkpoint(a), "b": open_checkpoint(b)}
    folder.mkdir()
    undisturbed = []
    for name in ("first", "second", "third"):  # the first one compiles what was never compiled here
        started = time.monotonic()
        os.waitpid(child(sources, {folder / name: NEW}, {}), 0)
        undisturbed.append(time.monotonic() - started)
    for line in sys.stdin:
        print(json.dumps(outcome(sources, folder, json.loads(line), min(undisturbed))), flush=True)


if __name__ == "__main__":
    main()
