"""Merge to a folder: checks first, then one streaming pass, then a complete, verified model appears under its name."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from merger.arithmetic import Arithmetic, as_out_of_memory, choose_arithmetic
from merger.bilingual import Text
from merger.checkpoint import SINGLE_FILE, Checkpoint
from merger.compatibility import compare
from merger.engine import BASE, Engine, MethodFailed, Output
from merger.errors import BadParameter, Cancelled, Fault, OutputIsInput, OutputOccupied
from merger.fitting import require_fit
from merger.layout import TIED_HEAD
from merger.model_card import licence_warning, model_card
from merger.output import OutputFile
from merger.plan import OutputPlan, plan_output
from merger.provenance import CARD_FILE, RECIPE_FILE, Record, no_hashes, write_checksums, write_json
from merger.recipe import MergeRecipe
from merger.report import STAGES, MergeReport, Progress, angles_of
from merger.sidecars import write_sidecars
from merger.space import require_space
from merger.stream import SourceFiles
from merger.transaction import FolderTransaction, disk_errors, sweep
from merger.verify import check_written, foreign_files

__all__ = ["STAGES", "MergeReport", "Progress", "merge_outputs", "merge_to_folder"]

log = logging.getLogger("merger")

@dataclass
class _Task:
    """One output: its target, what was asked for, what is being done."""

    target: Path
    requested: MergeRecipe
    recipe: MergeRecipe
    warnings: list[Text] = field(default_factory=list)
    reason: Text | None = None


def merge_to_folder(
    recipe: MergeRecipe,
    sources: Mapping[str, Checkpoint],
    output_dir: str | Path,
    *,
    device: str = "auto",
    on_progress: Callable[[Progress], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
    donor: str = "a",
    dtype: str | None = None,
) -> MergeReport:
    """Merge `sources` (keys "a", "b", …, "base") by `recipe` into a complete model folder.

    `donor` names the source that gives config and tokenizer; `dtype` (F16, BF16, F32) overrides the first source's.
    Nothing is visible under `output_dir` before the whole model is there. Raises the errors of `merger.errors`.
    """
    return merge_outputs(
        {Path(output_dir): recipe},
        sources,
        device=device,
        on_progress=on_progress,
        cancelled=cancelled,
        donor=donor,
        dtype=dtype,
    )[0]


def merge_outputs(
    outputs: Mapping[Path, MergeRecipe],
    sources: Mapping[str, Checkpoint],
    *,
    device: str = "auto",
    on_progress: Callable[[Progress], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
    donor: str = "a",
    dtype: str | None = None,
) -> list[MergeReport]:
    """Merge into several folders with one pass over the sources; see `merge_to_folder`."""
    started = time.monotonic()
    tell = on_progress or (lambda _: None)
    arithmetic = choose_arithmetic(device)
    # A link to a folder stays a link: the folder behind it is what changes.
    targets = {(target.resolve() if os.path.islink(target) else target): recipe for target, recipe in outputs.items()}
    tasks = [_Task(target, recipe, recipe) for target, recipe in targets.items()]
    shared = _check(tasks, sources, donor)
    plan = plan_output(next(iter(sources.values())), dtype)
    total = plan.nbytes * len(tasks)
    tell(Progress("checking", 0, total))
    require_space(tasks[0].target.parent, plan.disk_bytes() * len(tasks))
    hashes = _Hashes(sources)
    while True:
        run = _Run(sources, tasks, plan, arithmetic, donor, dtype, tell, cancelled or (lambda: False))
        try:
            results = run.merge(hashes, shared)
            break
        except MethodFailed as failure:
            arithmetic = _after_failure(failure, tasks, arithmetic)
    seconds = time.monotonic() - started
    tell(Progress("done", total, total))
    return [
        MergeReport(
            task.target, task.recipe, task.requested.method, task.recipe.method, task.warnings, seconds, plan.nbytes,
            len(plan.tensors), output.copied, arithmetic.name, angles_of(output),
        )
        for task, output in zip(tasks, results, strict=True)
    ]  # fmt: skip


def _check(tasks: Sequence[_Task], sources: Mapping[str, Checkpoint], donor: str) -> list[Text]:
    """Everything that can be refused before work begins; returns warnings that concern all outputs."""
    if donor not in sources:
        keys = ", ".join(sources)
        raise BadParameter(
            faults=[
                Fault(
                    Text(f"--donor: нет модели «{donor}».", f"--donor: there is no model “{donor}”."),
                    Text(f"Есть: {keys}.", f"There are: {keys}."),
                    "donor",
                )
            ]
        )
    for task in tasks:
        require_fit(task.recipe, sources)
    models = [model for key, model in sources.items() if key != BASE]
    verdict = compare(models[0], *(models[1:] or models), base=sources.get(BASE))
    verdict.raise_if_incompatible()
    for task in tasks:
        _check_target(task.target, sources)
    warnings = list(verdict.warnings)
    licence = licence_warning(sources)
    return [*warnings, *([licence] if licence else [])]


def _check_target(target: Path, sources: Mapping[str, Checkpoint]) -> None:
    real = target.resolve()
    for model in sources.values():
        folders = {model.folder.resolve(), *(file.resolve().parent for file in model.files)}
        if any(real.is_relative_to(folder) or folder.is_relative_to(real) for folder in folders):
            raise OutputIsInput(path=str(target))
    with disk_errors(target):
        sweep(target)
        foreign = foreign_files(target)
    if foreign:
        raise OutputOccupied(path=str(target), files=[*foreign[:5], *(["…"] if len(foreign) > 5 else [])])


class _Hashes:
    """SHA-256 of the sources, computed beside the merge: they are needed only when the header is written."""

    def __init__(self, sources: Mapping[str, Checkpoint]) -> None:
        self._found: dict[str, dict[str, str]] = {}
        self._failure: Exception | None = None
        self._sources = sources
        self._thread = threading.Thread(target=self._compute, name="hashes", daemon=True)
        self._thread.start()

    def _compute(self) -> None:
        try:
            for key, model in self._sources.items():
                self._found[key] = model.file_hashes()
        except Exception as error:  # raised again where the hashes are asked for
            self._failure = error

    def get(self) -> dict[str, dict[str, str]]:
        """The hashes by source and file name."""
        self._thread.join()
        if self._failure is not None:
            raise self._failure
        return self._found


@dataclass(frozen=True)
class _Run:
    """One attempt to write all outputs."""

    sources: Mapping[str, Checkpoint]
    tasks: Sequence[_Task]
    plan: OutputPlan
    arithmetic: Arithmetic
    donor: str
    dtype: str | None
    tell: Callable[[Progress], None]
    cancelled: Callable[[], bool]

    def merge(self, hashes: _Hashes, shared: Sequence[Text]) -> list[Output]:
        """Write, verify and commit every output. Raises MethodFailed and coded errors."""
        total = self.plan.nbytes * len(self.tasks)
        records = [
            Record(task.recipe, task.requested, self.sources, self.donor, self.dtype, task.reason)
            for task in self.tasks
        ]
        with contextlib.ExitStack() as stack:
            folders = [stack.enter_context(FolderTransaction(task.target)) for task in self.tasks]
            stack.enter_context(disk_errors(self.tasks[0].target, self.plan.disk_bytes() * len(self.tasks)))
            files = stack.enter_context(SourceFiles(self.sources))
            outputs = []
            for task, transaction, record in zip(self.tasks, folders, records, strict=True):
                data_start = len(self.plan.header(record.metadata(no_hashes(self.sources))))
                file = OutputFile(transaction.folder / SINGLE_FILE, data_start + self.plan.nbytes)
                stack.callback(file.abandon)
                outputs.append(Output(task.recipe, self.plan, file, data_start))
            names = {key: model.name for key, model in self.sources.items()}
            config = next(iter(self.sources.values())).config
            engine = Engine(files, config, outputs, self.arithmetic, names)
            engine.run(lambda done: self.tell(Progress("merging", done, total)), self.cancelled)
            self.tell(Progress("syncing", total, total))
            for task, transaction, record, output in zip(self.tasks, folders, records, outputs, strict=True):
                self._complete(task, transaction.folder, record, output, hashes.get(), shared)
            if self.cancelled():
                raise Cancelled()
            for transaction in folders:
                transaction.commit(lambda stage: self.tell(Progress(stage, total, total)))
        return outputs

    def _complete(
        self,
        task: _Task,
        folder: Path,
        record: Record,
        output: Output,
        hashes: Mapping[str, Mapping[str, str]],
        shared: Sequence[Text],
    ) -> None:
        """Header, sidecars, recipe, card and checksums; then look at what is there."""
        total = self.plan.nbytes * len(self.tasks)
        header = self.plan.header(record.metadata(hashes))
        output.file.write(memoryview(header), 0)
        output.file.finish()
        self.tell(Progress("sidecars", total, total))
        head = any(tensor.name == TIED_HEAD for tensor in self.plan.tensors)
        main_dtype = max(self.plan.tensors, key=lambda tensor: tensor.nbytes).dtype
        models = list(self.sources.values())
        task.warnings += [*shared, *write_sidecars(folder, models, self.sources[self.donor], main_dtype, head)]
        write_json(folder / RECIPE_FILE, record.to_json(hashes))
        (folder / CARD_FILE).write_text(model_card(record, task.warnings), encoding="utf-8")
        write_checksums(folder, header, {tensor.name: output.digests[tensor.name] for tensor in self.plan.tensors})
        self.tell(Progress("verifying", total, total))
        check_written(folder, self.plan)


def _after_failure(failure: MethodFailed, tasks: Sequence[_Task], arithmetic: Arithmetic) -> Arithmetic:
    """Decide how to go on: a GPU without room hands over to the CPU, the guide's methods fall back to direct.

    Raises OutOfMemory or the cause if there is no way on.
    """
    task = next(task for task in tasks if task.recipe is failure.output.recipe)
    memory = as_out_of_memory(failure.cause, arithmetic.name)
    if memory is not None and arithmetic.name.startswith("cuda"):
        warning = Text(
            f"На {arithmetic.name} не хватило памяти: считаем на процессоре.",
            f"{arithmetic.name} ran out of memory: computing on the CPU.",
        )
        log.warning("%s", warning.en)
        task.warnings.append(warning)
        return choose_arithmetic("cpu")
    spec = task.recipe.spec
    if spec.fallback is None:
        raise memory or failure.cause
    parameters, parts = spec.fallback(task.recipe.parameters)
    cause = Text("не хватило памяти", "out of memory") if memory else Text(str(failure.cause), str(failure.cause))
    task.reason = Text(
        f"Метод {spec.name} не сработал ({cause.ru}); вместо него выполнен direct.",
        f"The method {spec.name} failed ({cause.en}); direct was performed instead.",
    )
    log.warning("%s", task.reason.en)
    task.recipe = MergeRecipe.build("direct", parameters, parts=parts)
    task.warnings.append(task.reason)
    return arithmetic
