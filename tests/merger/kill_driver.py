"""Merges in child processes that are killed, and says what is left: run by test_faults.py, without torch.

    python kill_driver.py A B FOLDER    (cases as JSON on standard input, one finding per case on standard output)

A case is {"stage": name} (the child kills itself when the merge reports that stage) or {"delay": share} (it is killed
after that share of an undisturbed merge's time); {"old": true} puts a previous result in place first.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

from merger.checkpoint import open_checkpoint
from merger.disk import Progress, merge_to_folder
from merger.errors import WhisperMergeError
from merger.recipe import MergeRecipe
from merger.verify import verify_folder

OLD, NEW = MergeRecipe.build("direct", {"direct_alpha": 0.25}), MergeRecipe.build("ties")


def child(sources: dict[str, Any], target: Path, stage: str | None) -> int:
    """Start a merge in a forked process; returns its id."""
    process = os.fork()
    if process:
        return process

    def die(progress: Progress) -> None:
        if progress.stage == stage:
            os.kill(os.getpid(), signal.SIGKILL)

    merge_to_folder(NEW, sources, target, on_progress=die)
    os._exit(0)


def state(target: Path) -> str:
    """absent, old, new or broken."""
    if not target.exists():
        return "absent"
    try:
        method = verify_folder(target).record["performed"]
    except WhisperMergeError as error:
        return f"broken: {error}"
    return "old" if method == OLD.method else "new"


def hidden(folder: Path) -> int:
    return sum(path.name.startswith(".") for path in folder.rglob("*"))


def main() -> None:
    a, b, folder = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    sources = {"a": open_checkpoint(a), "b": open_checkpoint(b)}
    folder.mkdir()
    undisturbed = []
    for name in ("first", "second", "third"):  # the first one compiles what was never compiled here
        started = time.monotonic()
        os.waitpid(child(sources, folder / name, None), 0)
        undisturbed.append(time.monotonic() - started)
    whole = min(undisturbed)
    for line in sys.stdin:
        case = json.loads(line)
        shutil.rmtree(folder)
        folder.mkdir()
        target = folder / "merged"
        if case.get("old"):
            merge_to_folder(OLD, sources, target)
            merge_to_folder(OLD, sources, target / "slerp")
        process = child(sources, target, case.get("stage"))
        if "delay" in case:
            time.sleep(case["delay"] * whole)
            os.kill(process, signal.SIGKILL)
        killed = os.WIFSIGNALED(os.waitpid(process, 0)[1])
        found = {"killed": killed, "after": state(target), "visible": sorted(p.name for p in folder.glob("[!.]*"))}
        merge_to_folder(NEW, sources, target)
        kept = verify_folder(target / "slerp").record["performed"] if case.get("old") else None
        print(json.dumps({**found, "next": state(target), "hidden": hidden(folder), "subfolder": kept}), flush=True)


if __name__ == "__main__":
    main()
