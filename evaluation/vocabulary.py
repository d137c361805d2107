"""The special tokens and decoding rules of one Whisper checkpoint, resolved once and checked.

Fine-tunes are often published without a usable `generation_config.json` (no language map, the library's length limit);
what is missing there is read from the tokenizer instead, so that such a checkpoint transcribes like any other.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

from merger.bilingual import Text
from merger.errors import BadParameter, Fault

NO_TIMESTAMPS = "<|notimestamps|>"
TASKS = ("transcribe", "translate")


@dataclass(frozen=True)
class Vocabulary:
    """Token ids and rules; lengths are counted in tokens.

    `prompt_language` maps a code such as "ru" to its token; empty for a model of one language, whose prompt then has
    neither language nor task.
    """

    start: int
    end: int
    pad: int
    no_timestamps: int | None
    prompt_language: dict[str, int]
    prompt_task: dict[str, int]
    suppress: tuple[int, ...]
    begin_suppress: tuple[int, ...]
    max_initial_timestamp: int | None
    max_length: int
    size: int
    special: frozenset[int]

    @property
    def timestamp_begin(self) -> int:
        """Id of <|0.00|>; beyond the vocabulary where the model has no timestamps."""
        return self.size + 1 if self.no_timestamps is None else self.no_timestamps + 1

    @property
    def no_speech(self) -> int | None:
        """Id of <|nospeech|>, which stands just before <|notimestamps|> in every Whisper vocabulary."""
        return None if self.no_timestamps is None else self.no_timestamps - 1

    @classmethod
    def of(cls, module: Any, tokenizer: Any) -> Vocabulary:
        """Read the ids of a transformers Whisper module and its tokenizer."""
        settings, config = module.generation_config, module.config
        table = {str(token): int(index) for index, token in tokenizer.added_tokens_decoder.items()}
        no_timestamps = getattr(settings, "no_timestamps_token_id", None) or table.get(NO_TIMESTAMPS)
        languages = getattr(settings, "lang_to_id", None) or {
            name: index for name, index in table.items() if _is_language(name)
        }
        tasks = getattr(settings, "task_to_id", None) or {
            task: table[f"<|{task}|>"] for task in TASKS if f"<|{task}|>" in table
        }
        multilingual = getattr(settings, "is_multilingual", True) and bool(languages)
        end = settings.eos_token_id if isinstance(settings.eos_token_id, int) else config.eos_token_id
        return cls(
            start=_first_int(settings.decoder_start_token_id, config.decoder_start_token_id),
            end=end,
            pad=_first_int(settings.pad_token_id, config.pad_token_id, end),
            no_timestamps=no_timestamps,
            prompt_language={name.strip("<|>"): index for name, index in languages.items()} if multilingual else {},
            prompt_task=dict(tasks) if multilingual else {},
            suppress=tuple(settings.suppress_tokens or ()),
            begin_suppress=tuple(settings.begin_suppress_tokens or ()),
            max_initial_timestamp=getattr(settings, "max_initial_timestamp_index", None),
            max_length=config.max_target_positions,
            size=config.vocab_size,
            special=frozenset(tokenizer.all_special_ids) | frozenset(table.values()),
        )

    def prompt(self, language: str, task: str, timestamps: bool) -> list[int]:
        """Forced start of the decoder: start, language, task and, without timestamps, <|notimestamps|>."""
        if timestamps and self.no_timestamps is None:
            raise bad_option(
                "timestamps",
                Text("у этой модели нет меток времени", "this model has no timestamp tokens"),
                Text("Возьмите запись не длиннее 30 секунд.", "Take a clip of at most 30 seconds."),
            )
        tokens = [self.start]
        if self.prompt_language:
            if language not in self.prompt_language:
                raise _unknown("language", language, sorted(self.prompt_language))
            tokens.append(self.prompt_language[language])
            if self.prompt_task:
                if task not in self.prompt_task:
                    raise _unknown("task", task, sorted(self.prompt_task))
                tokens.append(self.prompt_task[task])
        if not timestamps and self.no_timestamps is not None:
            tokens.append(self.no_timestamps)
        return tokens

    def new_token_limit(self, prompt_length: int, wanted: int | None) -> int:
        """How many tokens may follow the prompt: `wanted`, but never past the decoder's last position."""
        room = self.max_length - prompt_length
        return room if wanted is None else max(1, min(wanted, room))

    def text_tokens(self, tokens: list[int]) -> list[int]:
        """Drop special tokens and timestamps."""
        return [token for token in tokens if token < self.timestamp_begin and token not in self.special]

    def generation_config(self, module: Any) -> Any:
        """A copy of the module's generation config with the gaps filled in, for transformers' `generate`."""
        settings = copy.deepcopy(module.generation_config)
        settings.no_timestamps_token_id = self.no_timestamps
        settings.is_multilingual = bool(self.prompt_language)
        settings.lang_to_id = {f"<|{name}|>": index for name, index in self.prompt_language.items()}
        settings.task_to_id = dict(self.prompt_task)
        settings.decoder_start_token_id, settings.eos_token_id, settings.pad_token_id = self.start, self.end, self.pad
        settings.forced_decoder_ids = None
        settings.max_new_tokens = None
        return settings


def _is_language(name: str) -> bool:
    code = name[2:-2]
    return name.startswith("<|") and name.endswith("|>") and code.isalpha() and code.islower() and 2 <= len(code) <= 3


def _first_int(*candidates: Any) -> int:
    for candidate in candidates:
        if isinstance(candidate, int):
            return candidate
    raise bad_option(
        "generation_config",
        Text("в настройках модели нет начального токена", "the model's configuration names no start token"),
        Text("Добавьте generation_config.json исходной модели.", "Add the original model's generation_config.json."),
    )


def bad_option(name: str, sentence: Text, remedy: Text) -> BadParameter:
    """The error for one transcription option."""
    return BadParameter(faults=[Fault(Text(sentence.ru + ".", sentence.en + "."), remedy).prefixed(name, name)])


def _unknown(name: str, value: str, known: list[str]) -> BadParameter:
    choice = ", ".join(known)
    return bad_option(
        name,
        Text(f"модель не знает значения «{value}»", f"the model does not know “{value}”"),
        Text(f"Возможные значения: {choice}.", f"Possible values: {choice}."),
    )
