"""Merge to a folder: checks first, then one streaming pass, then a complete, verified model appears under its name."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from merger.arithmetic import Arithmetic, choose_arithmetic
from merger.bilingual import Text
from merger.checkpoint import INDEX_FILE, Checkpoint
from merger.compatibility import compare
from merger.engine import BASE, Engine, MethodFailed, Output
from merger.errors import BadParameter, Cancelled, Fault, OutputIsInput, OutputNotWritable, OutputOccupied
from merger.fitting import require_fit
from merger.hashing import SourceHashes
from merger.layout import TIED_HEAD
from merger.model_card import licence_warning, model_card
from merger.out_of_memory import as_out_of_memory
from merger.output import OutputFile, Writers
from merger.plan import MAX_SHARD_BYTES, OutputPlan, Verify, plan_output
from merger.provenance import CARD_FILE, RECIPE_FILE, Record, no_hashes, write_checksums, write_json
from merger.recipe import MergeRecipe
from merger.report import STAGES, MergeReport, Progress, angles_of
from merger.sidecars import write_sidecars
from merger.space import require_space
from merger.stream import SourceFiles
from merger.transaction import CURRENT_FOLDER, FolderTransaction, disk_errors, stayed_warning, sweep
from merger.verify import check_written, foreign_files, verify_folder

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
    max_shard_bytes: int | None = None,
    verify: Verify = "written",
) -> MergeReport:
    """Merge `sources` (keys "a", "b", …, "base") by `recipe` into a complete model folder.

    `donor` names the source that gives config and tokenizer; `dtype` (F16, BF16, F32) overrides the first source's;
    `max_shard_bytes` (50 GB unless given) splits the weights. `verify="full"` reads the whole result back from the
    disk before it appears. Nothing is visible under `output_dir` before the whole model is there. Raises the errors
    of `merger.errors`.
    """
    return merge_outputs(
        {Path(output_dir): recipe},
        sources,
        device=device,
        on_progress=on_progress,
        cancelled=cancelled,
        donor=donor,
        dtype=dtype,
        max_shard_bytes=max_shard_bytes,
        verify=verify,
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
    max_shard_bytes: int | None = None,
    verify: Verify = "written",
) -> list[MergeReport]:
    """Merge into several folders with one pass over the sources; see `merge_to_folder`."""
    started = time.monotonic()
    tell = on_progress or (lambda _: None)
    arithmetic = choose_arithmetic(device)
    # A link to a folder stays a link: the folder behind it is what changes.
    targets = {(target.resolve() if os.path.islink(target) else target): recipe for target, recipe in outputs.items()}
    tasks = [_Task(target, recipe, recipe) for target, recipe in targets.items()]
    shared = _check(tasks, sources, donor)
    plan = plan_output(next(iter(sources.values())), dtype, max_shard_bytes or MAX_SHARD_BYTES)
    total = plan.nbytes * len(tasks)
    tell(Progress("checking", 0, total))
    require_space(tasks[0].target.parent, plan.disk_bytes() * len(tasks))
    hashes = SourceHashes(sources)
    while True:
        records = [
            Record(task.recipe, task.requested, sources, donor, dtype, max_shard_bytes, task.reason) for task in tasks
        ]
        run = _Run(sources, tasks, records, plan, arithmetic, tell, cancelled or (lambda: False), verify)
        try:
            results = run.merge(hashes, shared)
            break
        except MethodFailed as failure:
            arithmetic = _after_failure(failure, tasks, arithmetic)
        except (OSError, RuntimeError, MemoryError) as failure:
            raise as_out_of_memory(failure) or failure from failure.__cause__
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
    verdict = compare(models[0], *(models[1:] or models), base=sources.get(BASE), donor=sources[donor])
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
        if target.exists() and target.samefile(os.curdir):
            raise OutputNotWritable(path=str(target), detail=CURRENT_FOLDER)
        sweep(target, foreign_files)
        foreign = foreign_files(target)
    if foreign:
        raise OutputOccupied(path=str(target), files=[*foreign[:5], *(["…"] if len(foreign) > 5 else [])])


@dataclass(frozen=True)
class _Run:
    """One attempt to write all outputs."""

    sources: Mapping[str, Checkpoint]
    tasks: Sequence[_Task]
    records: Sequence[Record]
    plan: OutputPlan
    arithmetic: Arithmetic
    tell: Callable[[Progress], None]
    cancelled: Callable[[], bool]
    verify: Verify

    @property
    def total(self) -> int:
        """Bytes of all outputs."""
        return self.plan.nbytes * len(self.tasks)

    def merge(self, hashes: SourceHashes, shared: Sequence[Text]) -> list[Output]:
        """Write, verify and commit every output. Raises MethodFailed and coded errors."""
        with contextlib.ExitStack() as stack:
            folders = [stack.enter_context(FolderTransaction(task.target, foreign_files)) for task in self.tasks]
            stack.enter_context(disk_errors(self.tasks[0].target, self.plan.disk_bytes() * len(self.tasks)))
            files = stack.enter_context(SourceFiles(self.sources))
            writers = stack.enter_context(Writers())
            outputs = []
            for task, transaction, record in zip(self.tasks, folders, self.records, strict=True):
                opened = self._open_files(transaction.folder, record, writers, stack)
                outputs.append(Output(task.recipe, self.plan, opened))
            names = {key: model.name for key, model in self.sources.items()}
            config = next(iter(self.sources.values())).config
            engine = Engine(files, config, outputs, self.arithmetic, names)
            engine.run(lambda done: self.tell(Progress("merging", done, self.total)), self.cancelled)
            self.tell(Progress("syncing", self.total, self.total))
            for task, transaction, record, output in zip(self.tasks, folders, self.records, outputs, strict=True):
                self._complete(task, transaction.folder, record, output, hashes.get(), shared)
            for number, transaction in enumerate(folders):
                self._verify(transaction.folder, number)
            for task, transaction in zip(self.tasks, folders, strict=True):
                stayed = transaction.commit(lambda stage: self.tell(Progress(stage, self.total, self.total)))
                task.warnings += stayed_warning(stayed)
        return outputs

    def _open_files(
        self, folder: Path, record: Record, writers: Writers, stack: contextlib.ExitStack
    ) -> dict[str, OutputFile]:
        """The weight files of one output, with room for headers as long as the ones that will be written."""
        opened = {}
        metadata = record.metadata(no_hashes(self.sources))
        for name, tensors in self.plan.files.items():
            header_bytes, data_bytes = len(self.plan.header(name, metadata)), sum(each.nbytes for each in tensors)
            file = opened[name] = OutputFile(folder / name, header_bytes, data_bytes, writers)
            stack.callback(file.abandon)
        return opened

    def _complete(
        self,
        task: _Task,
        folder: Path,
        record: Record,
        output: Output,
        hashes: Mapping[str, Mapping[str, str]],
        shared: Sequence[Text],
    ) -> None:
        """Headers, index, sidecars, recipe, card and checksums."""
        metadata = record.metadata(hashes)
        headers = {name: self.plan.header(name, metadata) for name in output.files}
        for name, file in output.files.items():
            file.finish(headers[name])
        self.tell(Progress("sidecars", self.total, self.total))
        index = self.plan.index()
        if index is not None:
            write_json(folder / INDEX_FILE, index)
        head = any(tensor.name == TIED_HEAD for tensor in self.plan.tensors)
        main_dtype = max(self.plan.tensors, key=lambda tensor: tensor.nbytes).dtype
        donor = self.sources[record.donor]
        task.warnings += shared
        givers = [self.sources[key] for key in sorted(self.sources, key=BASE.__eq__)]  # the base last, as in _check
        write_sidecars(folder, givers, donor, main_dtype, head)
        write_json(folder / RECIPE_FILE, record.to_json(hashes))
        (folder / CARD_FILE).write_text(model_card(record, task.warnings), encoding="utf-8")
        write_checksums(folder, self.plan, headers, output.digests)

    def _verify(self, folder: Path, number: int) -> None:
        """Look at what is there: its structure always, every byte if that was asked for."""
        before = self.plan.nbytes * number
        self.tell(Progress("verifying", self.total if self.verify == "written" else before, self.total))
        check_written(folder, self.plan)

        def progress(done: int, _: int) -> None:
            self.tell(Progress("verifying", before + done, self.total))
            self._check_cancelled()

        if self.verify == "full":
            verify_folder(folder, progress)
        self._check_cancelled()

    def _check_cancelled(self) -> None:
        if self.cancelled():
            raise Cancelled()


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
