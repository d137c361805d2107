"""What an evaluation of the app runs: its set of recordings, its systems, and the device that it shares with everybody.

A step is one clip of one system, so that somebody who moves a slider waits for one clip at most.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from evaluation.archive import unpack
from evaluation.audio import AudioClip, AudioLimits, load_clip
from evaluation.audio_child import load_clip_apart
from evaluation.errors import BadManifest
from evaluation.local import predicted
from evaluation.manifest import Manifest, read_manifest
from evaluation.predictions import Prediction
from evaluation.runner import RunOptions, Work
from evaluation.systems import System, merge_system, model_system
from merger.bilingual import Text
from merger.checkpoint import Checkpoint
from merger.errors import Fault
from merger.recipe import MergeRecipe
from ui.comparison import Listener, Memory, Mixture
from ui.models import taking_part
from ui.settings import Settings
from ui.worker import Job
from ui.workshop import Workshop

# A stands unmixed where the base is asked for: nothing of what the models learnt is added to it.
BASE_ITSELF = MergeRecipe.build("task-arithmetic", {"scale": 0.0})
NAMES = {
    "base": Text("общий предок", "common ancestor"),  # `evaluation.verdicts` knows it by this name
    "merged": Text("Слияние", "Merge"),
}


@dataclass(frozen=True)
class Voice:
    """A system and how the loaded pair speaks with it: one of its sides, or a recipe."""

    system: System
    role: str  # "a", "b", "base", "merged", "saved"
    side: str
    recipe: MergeRecipe


def voices(
    workshop: Workshop,
    models: Mapping[str, str | None],
    sources: Mapping[str, Checkpoint],
    roles: Sequence[str],
    recipes: Sequence[MergeRecipe],
    lang: str,
) -> list[Voice]:
    """The systems to compare, in the order of the report: base, A, B, then the recipes; the first is the current one.

    `roles`: which of "base", "a", "b" stand beside the recipes.
    """
    called = workshop.models.names(models)
    names = {role: f"{role.upper()} ({called[role].get(lang)})" for role in sources if role != "base"}
    names["base"] = NAMES["base"].get(lang)
    found = [
        Voice(model_system(names[role], sources[role]), role, *_way(role))
        for role in ("base", "a", "b")
        if role in roles and role in sources
    ]
    for number, recipe in enumerate(recipes):
        name = NAMES["merged"].get(lang) if number == 0 else f"{recipe.method} · {number}"
        mixed = taking_part(recipe, sources)
        system = merge_system(name, recipe, mixed, {role: names[role] for role in mixed})
        found.append(Voice(system, "saved" if number else "merged", "merged", recipe))
    return found


def _way(role: str) -> tuple[str, MergeRecipe]:
    return ("merged", BASE_ITSELF) if role == "base" else (role, MergeRecipe.build("direct"))


class SharedDevice:
    """An `evaluation.runner.Executor` on the device thread's pair; whoever comes between two clips has it meanwhile."""

    def __init__(
        self, workshop: Workshop, job: Job, sources: Mapping[str, Checkpoint], voices: Sequence[Voice], clips: int
    ) -> None:
        self._workshop, self._job, self._sources = workshop, job, dict(sources)
        self._voices = {voice.system.name: voice for voice in voices}
        # Its own: a thousand clips would push everybody's transcripts out of the shared memory.
        self._listener = Listener(Memory(kept=max(4, 3 * clips)))
        self._warnings: dict[str, list[Text]] = {}

    def run(self, work: Sequence[Work], options: RunOptions) -> Iterator[tuple[Work, list[Prediction]]]:
        decoding = options.decoding_hash()
        for item in work:
            voice = self._voices[item.system.name]
            heard = []
            for entry in item.entries:
                pair = self._workshop.pairs.get(self._sources, self._job.cancelled)
                mixture, clip = Mixture(voice.recipe, pair.fingerprints), load_clip(entry.audio)
                told = self._listener.hear(voice.side, pair, mixture, clip, self._job.cancelled)
                heard.append(predicted(item.system, entry, decoding, told.transcript))
                if voice.system.kind == "merge" and (warnings := told.merge.get("warnings")):
                    self._warnings[item.system.name] = [Text(one["ru"], one["en"]) for one in warnings]
            yield item, heard

    def device(self, options: RunOptions) -> str:
        return options.device

    def speed(self) -> dict[str, list[float]]:
        return {}  # beside other people's work a speed would mean nothing

    def warnings(self) -> dict[str, list[Text]]:
        return self._warnings


def run_options(settings: Settings) -> RunOptions:
    """Clips alone, as the page itself hears them, in the precision of the loaded pair."""
    return RunOptions(device=settings.device, dtype="as loaded", batch=1, repeats=0)


# ---- the set ---------------------------------------------------------------------------------------------------------


def read_set(settings: Settings, source: Mapping[str, Any], folder: Path, job: Job) -> Manifest:
    """The samples, or an uploaded archive: unpacked, decoded and checked; a stranger's audio in a process of its own.

    Raises BadManifest with every bad line, Cancelled between two recordings.
    """
    if source["kind"] == "samples":
        return read_manifest(settings.samples / "manifest.jsonl", load=_polled(job, load_clip))
    unpacked = folder / "set"
    if not unpacked.exists():
        job.report("evaluation.unpack")
        unpack(Path(source["path"]), unpacked, settings.archive_limits)
        Path(source["path"]).unlink(missing_ok=True)
    (path,) = unpacked.rglob("*.jsonl")
    kept: dict[Path, Path] = {}

    def load_apart(place: Path, limits: AudioLimits) -> AudioClip:
        clip = load_clip_apart(place, limits, settings.decode_seconds, settings.decode_memory_mb * 1_000_000)
        kept[place] = _keep(clip, folder / "audio" / f"{clip.sha256}.wav")
        return clip

    load = _polled(job, load_apart if settings.public else load_clip, settings.max_evaluation_minutes)
    manifest = read_manifest(
        path, skip_bad=bool(source.get("skip_bad")), limits=settings.audio_limits, confined=True, load=load
    )
    entries = tuple(replace(entry, audio=kept.get(entry.audio, entry.audio)) for entry in manifest.entries)
    return replace(manifest, entries=entries)


def _polled(job: Job, load: Any, minutes: float | None = None) -> Any:
    """`load` that counts, can be stopped, and refuses a set above `minutes` of sound."""
    seconds, number = 0.0, 0

    def counted(place: Path, limits: AudioLimits) -> AudioClip:
        nonlocal seconds, number
        job.check()
        clip: AudioClip = load(place, limits)
        seconds, number = seconds + clip.seconds, number + 1
        if minutes is not None and seconds > minutes * 60:
            raise too_long(minutes)
        job.report("evaluation.read", n=number)
        return clip

    return counted


def too_long(minutes: float) -> BadManifest:
    return BadManifest(
        faults=[
            Fault(
                Text(f"В наборе больше {minutes:g} мин звука.", f"The set holds more than {minutes:g} min of sound."),
                Text("Возьмите часть записей или командную строку.", "Take some of them, or the command line."),
            )
        ]
    )


def _keep(clip: AudioClip, path: Path) -> Path:
    """Exactly what was decoded, in a form that needs no decoder of a stranger's bytes again."""
    import soundfile

    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, clip.samples, clip.sample_rate, format="WAV", subtype="FLOAT")
    return path
