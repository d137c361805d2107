"""The tree of errors that a user can cause.

    WhisperMergeError
    ├── ModelFileError               a file of a model cannot be used
    │   ├── UnsafeFormat             UNSAFE_FORMAT       pickled weights
    │   ├── NotSafetensors           NOT_SAFETENSORS     a web page, a pointer, something else
    │   ├── IncompleteFile           INCOMPLETE_FILE     shorter than its header says
    │   ├── CorruptFile              CORRUPT_FILE        header or bytes contradict themselves
    │   ├── MissingShard             MISSING_SHARD
    │   ├── MissingFile              MISSING_FILE
    │   ├── UnknownWeights           UNKNOWN_WEIGHTS     beside those that the record knows
    │   └── NonfiniteWeights         NONFINITE_WEIGHTS   NaN or infinity
    │       └── NonfiniteResult      NONFINITE_WEIGHTS   in the result of finite sources
    ├── IncompatibleModels           INCOMPATIBLE_MODELS all mismatches at once
    ├── BadParameter                 BAD_PARAMETER       all faults at once
    ├── BadRecipe                    BAD_RECIPE
    ├── ModelTooLarge                MODEL_TOO_LARGE     above a server's limit
    ├── PathNotAllowed               PATH_NOT_ALLOWED
    ├── OutputIsInput                OUTPUT_IS_INPUT
    ├── OutputOccupied               OUTPUT_OCCUPIED     holds files that this program did not write
    ├── OutputNotWritable            OUTPUT_NOT_WRITABLE
    ├── DiskFull                     DISK_FULL
    ├── OutOfMemory                  OUT_OF_MEMORY
    ├── DeviceUnavailable            DEVICE_UNAVAILABLE
    ├── Offline                      OFFLINE
    ├── Cancelled                    CANCELLED
    └── InternalError                INTERNAL            a fault of the program

Every class has a code, one plain sentence and a remedy in both languages. The words are templates; the facts given to
the constructor fill them. (Longer than other files because it is a catalogue: one place to read them all.)
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from merger.bilingual import Text


@dataclass(frozen=True, slots=True)
class Fault:
    """One of several things that are wrong: what it is, how to mend it, and the parameter it belongs to."""

    sentence: Text
    remedy: Text
    parameter: str | None = None

    def prefixed(self, name: Text | str, parameter: str) -> Fault:
        """The same fault with the name of what it belongs to in front."""
        name = name if isinstance(name, Text) else Text(name, name)
        return Fault(Text(f"{name.ru}: {self.sentence.ru}", f"{name.en}: {self.sentence.en}"), self.remedy, parameter)


class WhisperMergeError(Exception):
    """Root of the tree. Keyword arguments are the facts; they fill the templates of the sentence and the remedy."""

    code: ClassVar[str] = "ERROR"
    sentence_text: ClassVar[Text] = Text("Не получилось: {detail}.", "Failed: {detail}.")
    remedy_text: ClassVar[Text] = Text("Подробности есть в журнале.", "The log has the details.")

    def __init__(self, **facts: Any) -> None:
        super().__init__()
        self.facts: dict[str, Any] = facts

    def sentence(self, lang: str) -> str:
        """What happened, in one plain sentence."""
        return self.sentence_text.format(**self.facts).get(lang)

    def remedy(self, lang: str) -> str:
        """What to do about it."""
        return self.remedy_text.format(**self.facts).get(lang)

    def to_json(self, lang: str) -> dict[str, str]:
        """`{"code", "sentence", "remedy"}` in one language."""
        return {"code": self.code, "sentence": self.sentence(lang), "remedy": self.remedy(lang)}

    def __str__(self) -> str:
        return f"{self.code}: {self.sentence('en')} {self.remedy('en')}".rstrip()

    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuild, (type(self), self.facts))


def _rebuild(kind: type[WhisperMergeError], facts: dict[str, Any]) -> WhisperMergeError:
    return kind(**facts)


class FaultList(WhisperMergeError):
    """An error that reports several faults together; `faults` holds at least one `Fault`."""

    def __init__(self, *, faults: Sequence[Fault], **facts: Any) -> None:
        super().__init__(faults=tuple(faults), **facts)

    @property
    def faults(self) -> tuple[Fault, ...]:
        """Everything that was found wrong, in the order in which it was found."""
        faults: tuple[Fault, ...] = self.facts["faults"]
        return faults

    def sentence(self, lang: str) -> str:
        return " ".join(fault.sentence.get(lang) for fault in self.faults)

    def remedy(self, lang: str) -> str:
        return " ".join(dict.fromkeys(fault.remedy.get(lang) for fault in self.faults))


class BadParameter(FaultList):
    """A value out of its range, of the wrong kind, or for another method. Facts: `faults`."""

    code = "BAD_PARAMETER"


class BadRecipe(FaultList):
    """A recipe that cannot be read or does not fit its sources. Facts: `faults`."""

    code = "BAD_RECIPE"


class IncompatibleModels(FaultList):
    """The sources are not of one shape. Facts: `mismatches`, every one of them (each has `sentence`, `remedy`)."""

    code = "INCOMPATIBLE_MODELS"

    def __init__(self, *, mismatches: Sequence[Fault], **facts: Any) -> None:
        super().__init__(faults=mismatches, **facts)

    @property
    def mismatches(self) -> tuple[Fault, ...]:
        """All mismatches."""
        return self.faults

    def __reduce__(self) -> tuple[Any, ...]:
        facts = {key: value for key, value in self.facts.items() if key != "faults"}
        return (_rebuild, (type(self), {**facts, "mismatches": self.faults}))


class ModelFileError(WhisperMergeError):
    """A file of a model cannot be used. Facts: `file` (name, never a server's path), often `detail`."""


class UnsafeFormat(ModelFileError):
    """Pickled weights: reading them can run a stranger's code."""

    code = "UNSAFE_FORMAT"
    sentence_text = Text(
        "В «{file}» веса записаны в формате pickle: чтение такого файла может выполнить чужой код.",
        "“{file}” holds pickled weights: reading such a file can run someone else's code.",
    )
    remedy_text = Text(
        "Преобразуйте модель в safetensors: WhisperForConditionalGeneration.from_pretrained(папка)"
        ".save_pretrained(новая_папка, safe_serialization=True) — на машине, где вы этому файлу доверяете.",
        "Convert the model to safetensors: WhisperForConditionalGeneration.from_pretrained(folder)"
        ".save_pretrained(new_folder, safe_serialization=True), on a machine where you trust the file.",
    )


class NotSafetensors(ModelFileError):
    """Something else under a safetensors name. Facts: `file`, `detail` (what it looks like)."""

    code = "NOT_SAFETENSORS"
    sentence_text = Text("«{file}» — не safetensors: {detail}.", "“{file}” is not a safetensors file: {detail}.")
    remedy_text = Text(
        "Скачайте файл модели заново (для хранилищ Git: git lfs pull).",
        "Download the model file again (for Git repositories: git lfs pull).",
    )


class IncompleteFile(ModelFileError):
    """The file ends before its last tensor. Facts: `file`, `expected`, `found` (bytes)."""

    code = "INCOMPLETE_FILE"
    sentence_text = Text(
        "Файл «{file}» неполон: должно быть {expected} байт, есть {found}.",
        "“{file}” is incomplete: {expected} bytes are due, {found} are there.",
    )
    remedy_text = Text("Скачайте или скопируйте файл заново.", "Download or copy the file again.")


class CorruptFile(ModelFileError):
    """Header or content contradict themselves. Facts: `file`, `detail`; `tensor` where one is concerned."""

    code = "CORRUPT_FILE"
    sentence_text = Text("Файл «{file}» повреждён: {detail}.", "“{file}” is corrupt: {detail}.")
    remedy_text = Text("Скачайте или скопируйте файл заново.", "Download or copy the file again.")


class MissingShard(ModelFileError):
    """The index names a shard that is not there. Facts: `file`, `index`."""

    code = "MISSING_SHARD"
    sentence_text = Text(
        "Нет части модели «{file}», которую называет «{index}».",
        "The shard “{file}”, which “{index}” names, is missing.",
    )
    remedy_text = Text("Скачайте недостающую часть в папку модели.", "Download the missing shard into the folder.")


class MissingFile(ModelFileError):
    """A folder or a file that is needed is not there. Facts: `file`, `detail`; `advice` (Text) where it is not a
    model that is missing."""

    code = "MISSING_FILE"
    sentence_text = Text("Не найдено: «{file}» ({detail}).", "Not found: “{file}” ({detail}).")
    remedy_text = Text(
        "Проверьте путь; папка модели содержит config.json и model.safetensors.",
        "Check the path; a model folder holds config.json and model.safetensors.",
    )

    def remedy(self, lang: str) -> str:
        advice: Text = self.facts.get("advice", self.remedy_text)
        return advice.get(lang)


class UnreadableFile(ModelFileError):
    """A file or folder that is there may not be read. Facts: `file`, `detail`."""

    code = "UNREADABLE_FILE"
    sentence_text = Text("Нет прав на чтение: «{file}» ({detail}).", "No permission to read “{file}” ({detail}).")
    remedy_text = Text("Дайте права на чтение или возьмите копию.", "Permit reading it, or take a copy.")


def not_opened(error: OSError) -> type[ModelFileError]:
    """What it is that a file could not be opened: it may not be read, or is not there."""
    return UnreadableFile if isinstance(error, PermissionError) else MissingFile


class UnknownWeights(ModelFileError):
    """Weight files in a result that its record does not know. Facts: `file` (the folder's name), `files`."""

    code = "UNKNOWN_WEIGHTS"
    sentence_text = Text(
        "В папке «{file}» есть файлы весов, которых нет в записи о слиянии: {files}.",
        "The folder “{file}” holds weight files that the record of the merge does not know: {files}.",
    )
    remedy_text = Text(
        "Уберите их: другая программа может загрузить их вместо проверенных весов.",
        "Remove them: another program may load them instead of the weights that were verified.",
    )


class NonfiniteWeights(ModelFileError):
    """NaN or infinity. Facts: `file` (model), `tensors` (up to five names)."""

    code = "NONFINITE_WEIGHTS"
    sentence_text = Text(
        "В «{file}» есть NaN или бесконечность, тензоры: {tensors}.",
        "“{file}” holds NaN or infinity, in: {tensors}.",
    )
    remedy_text = Text(
        "Такая модель испорчена при обучении или преобразовании: возьмите другую контрольную точку.",
        "Such a model was spoilt in training or conversion: take another checkpoint.",
    )


class WeightsOverflow(NonfiniteWeights):
    """Finite weights that do not fit the precision they are to be computed in. Facts: `file` (model), `tensors`."""

    sentence_text = Text(
        "Веса «{file}» больше, чем вмещает float16, тензоры: {tensors}.",
        "Weights of “{file}” are larger than float16 holds, in: {tensors}.",
    )
    remedy_text = Text("Возьмите float32 или bfloat16.", "Use float32 or bfloat16.")


class NonfiniteResult(NonfiniteWeights):
    """Finite sources gave NaN or infinity. Facts: `method`, `tensors` (up to five names)."""

    sentence_text = Text(
        "Результат метода {method} не помещается в свою точность: бесконечность или NaN, тензоры: {tensors}.",
        "The result of {method} does not fit its precision: infinity or NaN, in: {tensors}.",
    )
    remedy_text = Text(
        "Сохраните результат в float32 (--dtype F32) или возьмите коэффициенты поменьше.",
        "Save the result as float32 (--dtype F32), or take smaller coefficients.",
    )


class ModelTooLarge(WhisperMergeError):
    """A model above this server's limit. Facts: `model`, `size`, `limit` (readable sizes as Text)."""

    code = "MODEL_TOO_LARGE"
    sentence_text = Text(
        "Веса модели «{model}» занимают {size}, здесь можно не больше {limit}.",
        "The weights of “{model}” take {size}; {limit} is the most here.",
    )
    remedy_text = Text("Выберите модель поменьше или float16.", "Choose a smaller model, or one in float16.")


class PathNotAllowed(WhisperMergeError):
    """A path outside the folders that this server may use. Facts: `path` as the user gave it."""

    code = "PATH_NOT_ALLOWED"
    sentence_text = Text("Путь «{path}» здесь не разрешён.", "The path “{path}” is not allowed here.")
    remedy_text = Text(
        "Выберите модель из разрешённых папок или попросите администратора добавить папку.",
        "Choose a model from the allowed folders, or ask the administrator to add the folder.",
    )


class OutputIsInput(WhisperMergeError):
    """The output folder is an input folder, lies in one, or holds one. Facts: `path`."""

    code = "OUTPUT_IS_INPUT"
    sentence_text = Text(
        "Папка результата «{path}» совпадает с папкой исходной модели или пересекается с ней.",
        "The output folder “{path}” is the folder of a source model or overlaps with it.",
    )
    remedy_text = Text("Укажите другую папку результата.", "Name another output folder.")


class OutputOccupied(WhisperMergeError):
    """The output folder holds files that this program did not write. Facts: `path`, `files`."""

    code = "OUTPUT_OCCUPIED"
    sentence_text = Text(
        "В папке «{path}» уже есть чужие файлы: {files}.",
        "The folder “{path}” already holds files that are not ours: {files}.",
    )
    remedy_text = Text(
        "Укажите другую папку или уберите из неё файлы: программа заменяет только собственные результаты.",
        "Name another folder or clear it: only results of this program are replaced.",
    )


class OutputNotWritable(WhisperMergeError):
    """The output folder cannot be made or written. Facts: `path`, `detail`."""

    code = "OUTPUT_NOT_WRITABLE"
    sentence_text = Text(
        "В «{path}» нельзя писать: {detail}.",
        "“{path}” cannot be written: {detail}.",
    )
    remedy_text = Text(
        "Укажите другую папку, в которую можно писать.",
        "Name another folder, one that can be written.",
    )


class DiskFull(WhisperMergeError):
    """Not enough room. Facts: `needed`, `free` (both readable sizes as Text)."""

    code = "DISK_FULL"
    sentence_text = Text(
        "На диске не хватает места: нужно {needed}, свободно {free}.",
        "The disk is too full: {needed} needed, {free} free.",
    )
    remedy_text = Text(
        "Освободите место или укажите папку на другом диске.",
        "Free some room or name a folder on another disk.",
    )


class OutOfMemory(WhisperMergeError):
    """Memory ran out. Facts: `device`."""

    code = "OUT_OF_MEMORY"
    sentence_text = Text("Не хватило памяти ({device}).", "Out of memory ({device}).")
    remedy_text = Text(
        "Закройте другие программы, возьмите --device cpu или метод direct.",
        "Close other programs, use --device cpu or the method direct.",
    )


class DeviceUnavailable(WhisperMergeError):
    """A device that is not there. Facts: `device`, `detail`."""

    code = "DEVICE_UNAVAILABLE"
    sentence_text = Text(
        "Устройство «{device}» недоступно: {detail}.",
        "The device “{device}” is unavailable: {detail}.",
    )
    remedy_text = Text("Возьмите --device cpu или --device auto.", "Use --device cpu or --device auto.")


class Offline(WhisperMergeError):
    """A Hub id that cannot be fetched. Facts: `model`, `detail`."""

    code = "OFFLINE"
    sentence_text = Text(
        "Модель «{model}» не получилось взять с Hugging Face Hub: {detail}.",
        "“{model}” could not be fetched from the Hugging Face Hub: {detail}.",
    )
    remedy_text = Text(
        "Проверьте имя и сеть или укажите локальную папку модели.",
        "Check the name and the network, or name a local model folder.",
    )


class Cancelled(WhisperMergeError):
    """The user stopped the work."""

    code = "CANCELLED"
    sentence_text = Text("Остановлено по вашей просьбе.", "Stopped at your request.")
    remedy_text = Text("Прежнее состояние не изменилось.", "What was there before is unchanged.")


class InternalError(WhisperMergeError):
    """A fault of the program, not of the person; the log holds the rest under the id."""

    code = "INTERNAL"
    sentence_text = Text("В программе произошла ошибка.", "The program has failed.")
    remedy_text = Text(
        "Попробуйте ещё раз; если повторится, сообщите номер ошибки: по нему она находится в журнале.",
        "Try again; if it happens again, report the error's number, which finds it in the log.",
    )


def error_id() -> str:
    """Eight hex digits that join what a person was told to a line of the log."""
    return secrets.token_hex(4)
