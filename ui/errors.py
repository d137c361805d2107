"""What the page adds to the tree of `merger.errors`, and how any failure becomes something that a person can read."""

import logging
from typing import Any

from merger.bilingual import Text, byte_size
from merger.errors import BadRecipe, Fault, WhisperMergeError, error_id
from merger.failures import coded

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


class ShelfFull(WhisperMergeError):
    """No room for another recording. Facts: `limit` (a readable size as Text)."""

    code = "SHELF_FULL"
    sentence_text = Text(
        "Для записей отведено {limit}, и место кончилось.", "Recordings may take {limit} together, and that is used up."
    )
    remedy_text = Text("Уберите с полки записи, которые больше не нужны.", "Remove recordings that you no longer need.")


class ExportsFull(WhisperMergeError):
    """Exported models take as much as they may. Facts: `limit`, `needed` (readable sizes as Text)."""

    code = "EXPORTS_FULL"
    sentence_text = Text(
        "Нужно {needed}, а для выпусков отведено {limit}, и столько уже не осталось.",
        "{needed} would be needed, and of the {limit} for exports not that much is left.",
    )
    remedy_text = Text(
        "Попросите администратора убрать старые выпуски.", "Ask the administrator to remove old exports."
    )


class ServerBusy(WhisperMergeError):
    """Everybody together asked for too much at once. Facts: `limit`."""

    code = "SERVER_BUSY"
    sentence_text = Text(
        "В очереди сервера уже {limit} заданий, больше он не берёт.",
        "The server's queue already holds {limit} jobs, and it takes no more.",
    )
    remedy_text = Text("Попробуйте через минуту.", "Try again in a minute.")


class HubNotAllowed(WhisperMergeError):
    """The Hub is switched off here. Facts: `model`."""

    code = "HUB_NOT_ALLOWED"
    sentence_text = Text("Загрузка «{model}» с Hugging Face Hub здесь выключена.", "Fetching “{model}” is off here.")
    remedy_text = Text("Выберите одну из локальных моделей.", "Choose one of the local models.")


def bad_recipe(sentence: Text, remedy: Text) -> BadRecipe:
    """A `BadRecipe` with one fault."""
    return BadRecipe(faults=[Fault(sentence, remedy)])


def size_text(count: int) -> Text:
    """A number of bytes in words."""
    return Text(byte_size(count, "ru"), byte_size(count, "en"))


def bilingual(text: Text) -> dict[str, str]:
    """A text as the page takes it; it chooses the language itself."""
    return {"ru": text.ru, "en": text.en}


def report(error: BaseException, level: int = logging.WARNING) -> dict[str, Any]:
    """`{"id", "code", "sentence", "remedy"}` in both languages; the id finds the line in the log, and the trace of
    what nobody expected."""
    known = coded(error)
    number = error_id()
    log.log(level, "error %s: %s", number, known, exc_info=None if known is error else error)
    return {
        "id": number,
        "code": known.code,
        "sentence": {lang: known.sentence(lang) for lang in ("ru", "en")},
        "remedy": {lang: known.remedy(lang) for lang in ("ru", "en")},
    }
