"""The synthetic voices of the demo, spoken in process through the synthesisers' C libraries.

`fetch_voices.sh` unpacks the libraries and their data into one folder, the *kit*. One `VoiceKit` per process: the
libraries keep global state and are not safe for threads.
"""

from __future__ import annotations

import ctypes
import os
from dataclasses import dataclass
from math import gcd
from pathlib import Path

import numpy as np
from scipy.signal import resample_poly

SAMPLE_RATE = 16_000  # Hz, what Whisper hears


@dataclass(frozen=True)
class Voice:
    """A speaker of the demo. `engine` is one of rhvoice, espeak, rutts; `domain` says who may train on it."""

    name: str
    engine: str
    domain: str  # "A" (formal, clean), "B" (colloquial, noisy) or "unseen" (never trained on)
    native_wpm: int  # words per minute at rate 1.0


def _espeak(names: str, domain: str) -> list[Voice]:
    return [Voice(name, "espeak", domain, 175) for name in names.split()]


VOICES: dict[str, Voice] = {
    voice.name: voice
    for voice in [
        *(Voice(name, "rhvoice", "A", 150) for name in ("Irina", "Elena", "Aleksandr")),
        *_espeak("ru ru+m1 ru+m7 ru+Denis ru+klatt4 ru+Andy ru+steph ru+f1 ru+f2 ru+Annie ru-lv", "B"),
        Voice("rutts-male", "rutts", "B", 150),
        Voice("Anna", "rhvoice", "unseen", 150),
        *_espeak("ru+f4 ru+linda ru+belinda", "unseen"),
        Voice("rutts-female", "rutts", "unseen", 150),
    ]
}


def voices_of(domain: str) -> list[Voice]:
    """All voices of one domain, in the order of declaration."""
    return [voice for voice in VOICES.values() if voice.domain == domain]


class VoiceKit:
    """Speaks Russian text with any of `VOICES`.

    Args:
        folder: what `fetch_voices.sh` filled.

    Raises:
        OSError: a library is missing from the folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()
        self._chunks: list[np.ndarray] = []
        self._rates = {"espeak": 0, "rhvoice": 0, "rutts": 10_000}
        self._engines: dict[str, object] = {}

    def speak(self, text: str, voice: str, *, rate: float = 1.0, pitch: float = 1.0) -> np.ndarray:
        """Returns int16[n] at 16 kHz. `rate` and `pitch` are factors of the voice's own (1.0)."""
        engine = VOICES[voice].engine
        self._chunks = []
        getattr(self, f"_speak_{engine}")(text, voice, rate, pitch)
        if not self._chunks:
            raise RuntimeError(f"{voice} said nothing for {text!r}")
        samples = np.concatenate(self._chunks)
        native = self._rates[engine]
        if native != SAMPLE_RATE:
            divisor = gcd(native, SAMPLE_RATE)
            resampled = resample_poly(samples.astype(np.float32), SAMPLE_RATE // divisor, native // divisor)
            samples = np.clip(np.rint(resampled), -32768, 32767).astype(np.int16)
        return samples

    # --- espeak-ng -------------------------------------------------------------------------------------------------
    def _espeak(self) -> ctypes.CDLL:
        if "espeak" not in self._engines:
            library = self._load("libsonic.so.0", "libpcaudio.so.0", "libespeak-ng.so.1")
            synchronous, folder = 2, os.fsencode(self._folder)
            self._rates["espeak"] = library.espeak_Initialize(synchronous, 0, folder, 0)
            if self._rates["espeak"] <= 0:
                raise OSError(f"espeak-ng finds no data in {self._folder}")
            prototype = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)
            self._espeak_callback = prototype(lambda wav, count, _events: self._keep(wav, count))
            library.espeak_SetSynthCallback(self._espeak_callback)
            self._engines["espeak"] = library
        return self._engines["espeak"]  # type: ignore[return-value]

    def _speak_espeak(self, text: str, voice: str, rate: float, pitch: float) -> None:
        library = self._espeak()
        if library.espeak_SetVoiceByName(voice.encode()) != 0:
            raise OSError(f"espeak-ng has no voice {voice}")
        rate_parameter, pitch_parameter, utf8 = 1, 3, 1
        library.espeak_SetParameter(rate_parameter, int(VOICES[voice].native_wpm * rate), 0)
        library.espeak_SetParameter(pitch_parameter, int(np.clip(50 * pitch, 0, 99)), 0)
        data = text.encode()
        library.espeak_Synth(data, ctypes.c_size_t(len(data) + 1), 0, 0, 0, utf8, None, None)

    # --- RHVoice ---------------------------------------------------------------------------------------------------
    def _rhvoice(self) -> tuple[ctypes.CDLL, int]:
        if "rhvoice" not in self._engines:
            library = self._load("libsonic.so.0", "libRHVoice_core.so.7", "libRHVoice.so.5")
            library.RHVoice_new_tts_engine.restype = ctypes.c_void_p
            library.RHVoice_new_message.restype = ctypes.c_void_p
            library.RHVoice_new_message.argtypes = [
                ctypes.c_void_p,
                ctypes.c_char_p,
                ctypes.c_uint,
                ctypes.c_int,
                ctypes.c_void_p,
                ctypes.c_void_p,
            ]
            library.RHVoice_speak.argtypes = library.RHVoice_delete_message.argtypes = [ctypes.c_void_p]
            self._rhvoice_parameters = _rhvoice_init(self._folder, self._keep, self._set_rhvoice_rate)
            engine = library.RHVoice_new_tts_engine(ctypes.byref(self._rhvoice_parameters))
            if not engine:
                raise OSError(f"RHVoice finds no voices in {self._folder}")
            self._engines["rhvoice"] = (library, engine)
        return self._engines["rhvoice"]  # type: ignore[return-value]

    def _speak_rhvoice(self, text: str, voice: str, rate: float, pitch: float) -> None:
        library, engine = self._rhvoice()
        settings = _RHVoiceSynthesis(voice.encode(), 0.0, 0.0, 0.0, rate, pitch, 1.0, 0, None, 0, 0)
        data = text.encode()
        message = library.RHVoice_new_message(engine, data, len(data), 0, ctypes.byref(settings), None)
        if not message:
            raise OSError(f"RHVoice has no voice {voice}")
        library.RHVoice_speak(message)
        library.RHVoice_delete_message(message)

    def _set_rhvoice_rate(self, rate: int) -> int:
        self._rates["rhvoice"] = rate
        return 1

    # --- ru-tts ----------------------------------------------------------------------------------------------------
    def _rutts(self) -> tuple[ctypes.CDLL, ctypes.CDLL, int]:
        if "rutts" not in self._engines:
            library, stress = self._load("librutts.so.7"), self._load("librulexdb.so.0")
            stress.rulexdb_open.restype = ctypes.c_void_p
            stress.rulexdb_search.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_int]
            database = stress.rulexdb_open(os.fsencode(self._folder / "rulex.db"), 0)
            self._engines["rutts"] = (library, stress, database)
        return self._engines["rutts"]  # type: ignore[return-value]

    def _speak_rutts(self, text: str, voice: str, rate: float, pitch: float) -> None:
        library, stress, database = self._rutts()
        settings = _RuTtsSettings()
        library.ru_tts_config_init(ctypes.byref(settings))
        settings.speech_rate = int(settings.speech_rate * rate)
        settings.voice_pitch = int(settings.voice_pitch * pitch)
        settings.flags = 4 if voice == "rutts-female" else 0
        buffer = ctypes.create_string_buffer(4096)
        prototype = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_byte), ctypes.c_size_t, ctypes.c_void_p)

        def keep(wave: ctypes._Pointer[ctypes.c_byte], size: int, _data: object) -> int:
            self._chunks.append(np.ctypeslib.as_array(wave, (size,)).astype(np.int16) * 256)
            return 0

        words = " ".join(_stressed(word, stress, database) for word in text.split())
        library.ru_tts_transfer(
            ctypes.byref(settings),
            words.encode("koi8-r", "ignore"),
            buffer,
            ctypes.c_size_t(4096),
            prototype(keep),
            None,
        )

    # --- shared ----------------------------------------------------------------------------------------------------
    def _load(self, *names: str) -> ctypes.CDLL:
        # RTLD_GLOBAL: the libraries find one another by soname once loaded, so no search path has to be set.
        return [ctypes.CDLL(str(self._folder / "lib" / name), mode=ctypes.RTLD_GLOBAL) for name in names][-1]

    def _keep(self, wave: ctypes._Pointer[ctypes.c_short], count: int) -> int:
        if wave and count > 0:
            self._chunks.append(np.ctypeslib.as_array(wave, (count,)).copy())
        return 0


def _stressed(word: str, stress: ctypes.CDLL, database: int) -> str:
    """Marks the stressed vowel with a plus where the dictionary knows the word; punctuation stays."""
    bare = "".join(letter for letter in word.lower() if letter.isalpha())
    value = ctypes.create_string_buffer(512)
    found = bare and stress.rulexdb_search(database, bare.encode("koi8-r", "ignore"), value, 0) == 0
    return word.lower().replace(bare, value.value.decode("koi8-r")) if found else word


class _RuTtsSettings(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_int)
        for name in (
            "speech_rate",
            "voice_pitch",
            "intonation",
            "general_gap",
            "comma_gap",
            "dot_gap",
            "semicolon_gap",
            "colon_gap",
            "question_gap",
            "exclamation_gap",
            "intonational_gap",
            "flags",
        )
    ]


_SetRate = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_void_p)
_Play = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_uint, ctypes.c_void_p)


class _RHVoiceInit(ctypes.Structure):
    _fields_ = [
        ("data_path", ctypes.c_char_p),
        ("config_path", ctypes.c_char_p),
        ("resource_paths", ctypes.c_void_p),
        ("set_sample_rate", _SetRate),
        ("play_speech", _Play),
        ("unused_callbacks", ctypes.c_void_p * 7),
        ("options", ctypes.c_uint),
    ]


class _RHVoiceSynthesis(ctypes.Structure):
    _fields_ = [
        ("voice_profile", ctypes.c_char_p),
        *((name, ctypes.c_double) for name in ("rate", "pitch", "volume", "rate_factor", "pitch_factor", "loudness")),
        ("punctuation_mode", ctypes.c_int),
        ("punctuation_list", ctypes.c_char_p),
        ("capitals_mode", ctypes.c_int),
        ("flags", ctypes.c_int),
    ]


def _rhvoice_init(folder: Path, keep: object, set_rate: object) -> _RHVoiceInit:
    parameters = _RHVoiceInit()
    parameters.data_path = os.fsencode(folder / "RHVoice")
    parameters.config_path = os.fsencode(folder / "RHVoice")

    def play(wave: ctypes._Pointer[ctypes.c_short], count: int, _data: object) -> int:
        keep(wave, count)  # type: ignore[operator]
        return 1  # RHVoice goes on as long as it is not told 0

    parameters.set_sample_rate = _SetRate(lambda rate, _data: set_rate(rate))  # type: ignore[operator]
    parameters.play_speech = _Play(play)
    return parameters
