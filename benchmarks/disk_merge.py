"""Merging to disk: wall time, peak memory, and their ratios to the floor and to mergekit, measured in one run.

    python benchmarks/disk_merge.py --shape large-v3 [--repeats 5] [--peer /path/to/mergekit/python] [--work FOLDER]

The floor reads both sources and writes the output (three outputs for `all`), with fsync, by the fastest way known on
the file system (floor.c, two ways: the one with the lower median counts). Every figure is a whole process, from start
to the rename; medians of interleaved repeats, in an order drawn anew for each, with a warm page cache. `other_cpu_s` is
processor time that other work of the machine took meanwhile: where it is large, the wall times are not ours alone.
`--methods` takes any methods of the registry, and `every` for all of them; by default only those are measured that
have a goal or a peer, since the random and the ranking methods take long at the shape of large-v3.
The peer needs the missing dot in mergekit's whisper.json repaired ("model.decoder."), which `--repair-peer` does.
Figures so far go to standard error, the whole to standard output.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.checkpoints import SHAPES  # noqa: E402
from merger.registry import methods  # noqa: E402

# What is set against which of the peer's methods; the guide's ties has no counterpart there.
PEER_OF = {"direct": "linear", "slerp": "slerp", "ties-merging": "ties"}
TIES_DENSITY = 0.8
DEFAULT_METHODS = ("direct", "slerp", "ties", "ties-merging", "all")
WITH_BASE = frozenset(spec.name for spec in methods().values() if spec.needs_base)
FLOOR_WAYS = ("direct", "buffered")
PEER_CONFIGS = {
    "linear": "merge_method: linear\nmodels:\n- model: {a}\n  parameters: {{weight: 0.5}}\n"
    "- model: {b}\n  parameters: {{weight: 0.5}}\ndtype: float32\nout_dtype: float16\n",
    "slerp": "merge_method: slerp\nbase_model: {a}\nmodels:\n- model: {a}\n- model: {b}\nparameters: {{t: 0.5}}\n"
    "dtype: float32\nout_dtype: float16\n",
    "ties": "merge_method: ties\nbase_model: {base}\nmodels:\n"
    "- model: {a}\n  parameters: {{weight: 0.5, density: 0.8}}\n"
    "- model: {b}\n  parameters: {{weight: 0.5, density: 0.8}}\nparameters: {{normalize: true}}\n"
    "dtype: float32\nout_dtype: float16\n",
}


@dataclass
class Figures:
    """What the repeats of one thing took."""

    walls: list[float] = field(default_factory=list)
    rss_mb: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    other_cpu: list[float] = field(default_factory=list)

    @property
    def wall(self) -> float:
        """Median seconds."""
        return statistics.median(self.walls)


def run(command: list[str], environment: dict[str, str], figures: Figures) -> None:
    """Run a process to its end and note wall time and peak resident memory; fails loudly."""
    busy, started = machine_cpu(), time.monotonic()
    process = subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, **environment}, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    assert process.stderr is not None
    error = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{command} failed:\n{error.decode()[-2000:]}")
    figures.walls.append(time.monotonic() - started)
    figures.cpu.append(usage.ru_utime + usage.ru_stime)
    figures.other_cpu.append(machine_cpu() - busy - figures.cpu[-1])
    figures.rss_mb.append(usage.ru_maxrss / 1024)


def machine_cpu() -> float:
    """Seconds that all processors together have worked since the machine was started; 0 where nobody counts."""
    try:
        fields = [int(word) for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:8]]
    except OSError:
        return 0.0
    return (sum(fields) - fields[3] - fields[4]) / os.sysconf("SC_CLK_TCK")  # without idle and waiting for the disk


class Bench:
    """Checkpoints, commands and figures of one run."""

    def __init__(self, shape: str, work: Path) -> None:
        self.work, self.out = work, work / "out"
        self.models = {name: work / name for name in ("a", "b", "base")}
        # In a process of its own: a child's peak memory counts what its parent held when it was started.
        subprocess.run([sys.executable, str(Path(__file__).with_name("checkpoints.py")), shape, str(work)], check=True)
        self.weights = {name: str(folder / "model.safetensors") for name, folder in self.models.items()}
        self.floor = work / "floor"
        source = Path(__file__).with_name("floor.c")
        subprocess.run(["cc", "-O2", "-pthread", "-o", str(self.floor), str(source)], check=True)
        self.cache = work / "cache"
        self.figures: dict[str, Figures] = {}

    def clean(self) -> None:
        """Remove the last output, and let the disk settle, outside the measured time."""
        shutil.rmtree(self.out, ignore_errors=True)
        for file in self.work.glob("floor.out*"):
            file.unlink()
        os.sync()

    def measure(self, name: str, command: list[str]) -> None:
        """One repeat of one thing."""
        self.clean()
        run(command, {"WHISPER_MERGE_CACHE": str(self.cache)}, self.figures.setdefault(name, Figures()))

    def warm(self, names: tuple[str, ...] = ("a", "b", "base")) -> None:
        """Bring sources into the page cache."""
        for file in (self.weights[name] for name in names):
            with open(file, "rb", buffering=0) as stream:
                while stream.read(1 << 24):
                    pass

    def floor_command(self, way: str, outputs: int) -> list[str]:
        """The C copier; `way` is direct or buffered."""
        files = [str(self.work / f"floor.out{index}") for index in range(outputs)]
        return [str(self.floor), way, self.weights["a"], self.weights["b"], *files]

    def round(self, chosen: Sequence[str]) -> None:
        """One repeat of floors and methods, in a random order."""
        commands = {f"floor {way}": self.floor_command(way, 1) for way in FLOOR_WAYS}
        if "all" in chosen:
            commands |= {f"floor of all {way}": self.floor_command(way, 3) for way in FLOOR_WAYS}
        commands |= {method: self.merge_command(method) for method in chosen}
        for name in random.sample(sorted(commands), len(commands)):
            self.warm(("a", "b", "base") if name in WITH_BASE else ("a", "b"))
            self.measure(name, commands[name])

    def merge_command(self, method: str) -> list[str]:
        """Our command line."""
        a, b, base = (str(self.models[name]) for name in ("a", "b", "base"))
        extra = ["--base", base] if method in WITH_BASE else []
        extra += ["--density", str(TIES_DENSITY)] if method == "ties-merging" else []  # the peer's
        places = ["--model-a", a, "--model-b", b, "--output-dir", str(self.out), *extra]
        return [sys.executable, "-m", "merger", "--method", method, "--device", "cpu", *places]

    def peer_command(self, python: str, method: str) -> list[str]:
        """mergekit's command line."""
        config = self.work / f"{method}.yaml"
        config.write_text(PEER_CONFIGS[method].format(**self.models))
        program = str(Path(python).with_name("mergekit-yaml"))
        return [python, program, str(config), str(self.out), "--no-copy-tokenizer"]

    def report(self) -> dict[str, dict[str, float | list[float]]]:
        """Medians and ratios."""
        found: dict[str, dict[str, float | list[float]]] = {}
        for name, figures in self.figures.items():
            many = "floor of all" if "all" in name else "floor"
            floors = [self.figures[key].wall for way in FLOOR_WAYS if (key := f"{many} {way}") in self.figures]
            found[name] = {
                "wall_s": round(figures.wall, 2),
                "walls_s": [round(wall, 2) for wall in figures.walls],
                "cpu_s": round(statistics.median(figures.cpu), 2),
                "other_cpu_s": round(statistics.median(figures.other_cpu), 2),
                "peak_rss_mb": round(max(figures.rss_mb)),
            }
            if floors:
                found[name]["ratio_to_floor"] = round(figures.wall / min(floors), 2)
            peer = self.figures.get(f"peer {PEER_OF.get(name, '')}")
            if peer is not None:
                found[name]["times_faster_than_peer"] = round(peer.wall / figures.wall, 1)
                cpu = statistics.median(peer.cpu) / statistics.median(figures.cpu)
                found[name]["times_less_cpu_than_peer"] = round(cpu, 1)
                found[name]["times_less_memory_than_peer"] = round(max(peer.rss_mb) / max(figures.rss_mb), 1)
        return found


def repair_peer(python: str) -> None:
    """Put the missing dot into mergekit's Whisper architecture."""
    code = "import mergekit, pathlib; print(pathlib.Path(mergekit.__file__).parent)"
    folder = subprocess.run([python, "-c", code], check=True, capture_output=True, text=True).stdout.strip()
    file = Path(folder) / "_data" / "architectures" / "whisper.json"
    text = file.read_text()
    for stack in ("decoder", "encoder"):
        text = text.replace(f'"weight_prefix": "model.{stack}"', f'"weight_prefix": "model.{stack}."')
    file.write_text(text)


def first_merges(bench: Bench) -> None:
    """The first merge of a pair hashes its sources and builds the kernels; later ones find both in the cache."""
    shutil.rmtree(bench.cache, ignore_errors=True)
    time.sleep(3)  # a file is trusted to be settled only after two seconds
    bench.warm()
    bench.measure("direct, first merge of this pair", bench.merge_command("direct"))
    bench.measure("ties-merging, first", bench.merge_command("ties-merging"))
    bench.figures.pop("ties-merging, first")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=list(SHAPES), default="small")
    parser.add_argument("--repeats", type=int, default=5)
    names = [*methods(), "all"]
    parser.add_argument("--methods", nargs="+", choices=[*names, "every"], default=list(DEFAULT_METHODS))
    parser.add_argument("--peer", help="the Python of an environment with mergekit 0.1.5")
    parser.add_argument("--peer-repeats", type=int, default=3)
    parser.add_argument("--repair-peer", action="store_true")
    parser.add_argument("--work", type=Path, help="folder to keep the checkpoints in (default: a temporary one)")
    given = parser.parse_args()
    chosen = names if "every" in given.methods else given.methods
    scratch = None if given.work else tempfile.TemporaryDirectory(prefix="disk-merge-")
    bench = Bench(given.shape, given.work or Path(scratch.name))  # type: ignore[union-attr]
    if given.peer and given.repair_peer:
        repair_peer(given.peer)
    first_merges(bench)
    for _ in range(given.repeats):
        bench.round(chosen)
        print(json.dumps(bench.report()), file=sys.stderr, flush=True)
    for _ in range(given.peer_repeats if given.peer else 0):
        for method in chosen:
            if method in PEER_OF:
                peer = PEER_OF[method]
                bench.warm()
                bench.measure(f"peer {peer}", bench.peer_command(given.peer, peer))
                print(json.dumps(bench.report()), file=sys.stderr, flush=True)
    bench.clean()
    machine = {"cores": os.cpu_count(), "processor": platform.machine(), "python": platform.python_version()}
    load = {"load_average_at_end": [round(value, 2) for value in os.getloadavg()]}
    print(json.dumps({"shape": given.shape, "machine": {**machine, **load}, "results": bench.report()}, indent=2))


if __name__ == "__main__":
    main()
