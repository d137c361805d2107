"""The plain way to a transcript: transformers' `generate`, greedy, one call per window.

`HuggingFaceTranscriber` is the oracle that the fast engine is tested against and the fallback for models that the
engine does not know.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch

from evaluation.attention import repeatable
from evaluation.features import log_mel
from evaluation.transcriber import (
    CancelPoll,
    Clip,
    TranscribeOptions,
    Transcript,
    assemble,
    transcribe_windows,
    window_at,
)
from evaluation.vocabulary import Vocabulary
from evaluation.windows import WindowText
from merger.errors import Cancelled


class HuggingFaceTranscriber:
    """Greedy transcription by transformers' own `generate`, one call per window.

    `module` is a `WhisperForConditionalGeneration`, `processor` its `WhisperProcessor`. One thread at a time may use a
    module. Its attention implementation and generation config are left as they were.
    """

    def __init__(self, module: Any, processor: Any) -> None:
        self.module = module
        self.tokenizer = processor.tokenizer
        self.vocabulary = Vocabulary.of(module, self.tokenizer)

    @torch.inference_mode()
    def transcribe(self, clip: Clip, options: TranscribeOptions, cancelled: CancelPoll | None = None) -> Transcript:
        """See `Transcriber.transcribe`."""
        started = time.perf_counter()
        timestamps = options.with_timestamps(clip.seconds)
        features = log_mel(clip.samples, self.module.config.num_mel_bins, device=self.module.device)
        features = features.to(self.module.dtype)

        def decode(seek: int) -> WindowText:
            window = window_at(features, seek)
            return generate_window(self.module, self.vocabulary, window, options, timestamps, cancelled)

        pieces = transcribe_windows(decode, clip, options, self.vocabulary)
        transcript = assemble(pieces, self.vocabulary, self.tokenizer, clip, options)
        if options.word_times:
            from evaluation.engine.timing import ModuleTimer

            words = ModuleTimer(self.module, self.tokenizer, self.vocabulary).words(features, pieces, clip, options)
            transcript = replace(transcript, words=words)
        return replace(transcript, seconds_wall=time.perf_counter() - started)


def generate_window(
    module: Any,
    vocabulary: Vocabulary,
    window: torch.Tensor,
    options: TranscribeOptions,
    timestamps: bool,
    cancelled: CancelPoll | None = None,
) -> WindowText:
    """What transformers' greedy `generate` writes for one window of features [mel_bins, 3000] in the module's dtype.

    Without cuDNN's attention, which on a GPU does not give the same bits twice.
    """
    with repeatable():
        return _generate(module, vocabulary, window, options, timestamps, cancelled)


def _generate(
    module: Any,
    vocabulary: Vocabulary,
    window: torch.Tensor,
    options: TranscribeOptions,
    timestamps: bool,
    cancelled: CancelPoll | None,
) -> WindowText:
    from transformers.modeling_outputs import BaseModelOutput

    prompt = vocabulary.prompt(options.language, options.task, timestamps)
    settings = vocabulary.generation_config(module)
    if vocabulary.prompt_language:
        settings.language, settings.task = f"<|{options.language}|>", options.task
    # generate adds the prompt's length to max_length and cuts at the last position
    settings.max_length = vocabulary.new_token_limit(len(prompt), options.max_new_tokens)
    settings.num_beams, settings.do_sample = 1, False
    heard = module.model.encoder(window[None]).last_hidden_state
    with _quiet():
        output = module.generate(
            encoder_outputs=BaseModelOutput(last_hidden_state=heard),
            generation_config=settings,
            return_timestamps=timestamps,
            force_unique_generate_call=True,
            temperature=0.0,
            stopping_criteria=_stop_when(cancelled),
        )
    tokens = output[0].tolist()[len(prompt) :]
    if vocabulary.end in tokens:
        tokens = tokens[: tokens.index(vocabulary.end)]
    known = vocabulary.no_speech

    def logprobs(extra: list[int]) -> torch.Tensor:
        ids = torch.tensor([prompt + extra], device=heard.device)
        forced = module(encoder_outputs=BaseModelOutput(last_hidden_state=heard), decoder_input_ids=ids)
        return torch.log_softmax(forced.logits[0].float(), dim=-1)

    def mean_logprob() -> float:
        targets = torch.tensor([*tokens, vocabulary.end], device=heard.device)
        return float(logprobs(tokens)[len(prompt) - 1 :].gather(1, targets[:, None]).mean())

    probability = 0.0 if known is None else float(logprobs([])[0, known].exp())
    return WindowText(tuple(tokens), probability, mean_logprob)


@contextmanager
def _quiet() -> Iterator[None]:
    """Mute the deprecation notes that `generate` writes about the way it calls itself."""
    logger = logging.getLogger("transformers.generation")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _stop_when(cancelled: CancelPoll | None) -> Any:
    """Stopping criteria that leave `generate` by raising Cancelled."""
    from transformers import StoppingCriteria, StoppingCriteriaList

    class Stop(StoppingCriteria):  # type: ignore[misc]
        def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **kwargs: Any) -> torch.Tensor:
            if cancelled is not None and cancelled():
                raise Cancelled
            return torch.zeros(input_ids.shape[0], dtype=torch.bool, device=input_ids.device)

    return StoppingCriteriaList([Stop()])
