"""What the page adds to the tree of `merger.errors`, and how any failure becomes something that a person can read."""

import logging
import secrets
from typing import Any

from merger.bilingual import Text
from merger.errors import BadRecipe, Fault, OutOfMemory, WhisperMergeError

log = logging.getLogger(__name__)


class QueueFull(WhisperMergeError):
    """One person asked for too much at once. Facts: `waiting`, `limit`."""

    code = "QUEUE_FULL"
    sentence_text = Text(
        "В очереди уже {waiting} ваших заданий, больше {limit} нельзя.",
        "You already have {waiting} jobs in the queue; {limit} is the most.",
    )
    remedy_text = Text("Дождитесь окончания или остановите одно из них.", "Wait for one to end, or stop one.")


class ModelsNotChosen(WhisperMergeError):
    """Something was asked that needs models which are not chosen. Facts: `roles`."""

    code = "MODELS_NOT_CHOSEN"
    sentence_text = Text("Не выбрано: {roles}.", "Not chosen: {roles}.")
    remedy_text = Text("Выберите модели вверху микшера.", "Choose the models at the top of the mixer.")


class ClipNotChosen(WhisperMergeError):
    """There is nothing to listen to."""

    code = "CLIP_NOT_CHOSEN"
    sentence_text = Text("Запись не выбрана.", "No recording is chosen.")
    remedy_text = Text(
        "Возьмите пример, загрузите файл или запишите голос.", "Take a sample, upload a file or record your voice."
    )


class NotFound(WhisperMergeError):
    """A clip, job or experiment that this person does not have. Facts: `what`."""

    code = "NOT_FOUND"
    sentence_text = Text("Не найдено: {what}.", "Not found: {what}.")
    remedy_text = Text("Возможно, это уже удалено. Обновите страницу.", "It may have been removed. Reload the page.")


class BadArgument(WhisperMergeError):
    """An endpoint was given something of another kind than it takes. Facts: `argument`, `expected`."""

    code = "BAD_ARGUMENT"
    sentence_text = Text("Аргумент «{argument}» не годится.", "The argument “{argument}” will not do.")
    remedy_text = Text("Ожидается: {expected}.", "Expected: {expected}.")


class HubNotAllowed(WhisperMergeError):
    """The Hub is switched off here. Facts: `model`."""

    code = "HUB_NOT_ALLOWED"
    sentence_text = Text("Загрузка «{model}» с Hugging Face Hub здесь выключена.", "Fetching “{model}” is off here.")
    remedy_text = Text("Выберите одну из локальных моделей.", "Choose one of the local models.")


class InternalError(WhisperMergeError):
    """A fault of the program, not of the person; the log holds the rest under the id."""

    code = "INTERNAL"
    sentence_text = Text("В программе произошла ошибка.", "The program has failed.")
    remedy_text = Text(
        "Попробуйте ещё раз; если повторится, сообщите администратору номер ошибки.",
        "Try again; if it happens again, give the administrator the error's number.",
    )


def bad_recipe(sentence: Text, remedy: Text) -> BadRecipe:
    """A `BadRecipe` with one fault."""
    return BadRecipe(faults=[Fault(sentence, remedy)])


def bilingual(text: Text) -> dict[str, str]:
    """A text as the page takes it; it chooses the language itself."""
    return {"ru": text.ru, "en": text.en}


def coded(error: BaseException) -> WhisperMergeError:
    """The error as a member of the tree; memory that ran out is recognised wherever it was raised."""
    if isinstance(error, WhisperMergeError):
        return error
    # torch is not imported for this: its error is known by name.
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return OutOfMemory(device="GPU" if type(error).__name__ == "OutOfMemoryError" else "RAM")
    return InternalError()


def report(error: BaseException) -> dict[str, Any]:
    """`{"id", "code", "sentence", "remedy"}` in both languages; the id finds the line in the log."""
    known = coded(error)
    number = secrets.token_hex(4)
    log.warning("error %s: %s", number, known.code, exc_info=None if known is error else error)
    return {
        "id": number,
        "code": known.code,
        "sentence": {lang: known.sentence(lang) for lang in ("ru", "en")},
        "remedy": {lang: known.remedy(lang) for lang in ("ru", "en")},
    }
