"""Every container the app accepts is read to the same sound; what is not audio gets its code."""

import io
import struct
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from evaluation import audio_child
from evaluation.audio import SAMPLE_RATE, AudioClip, AudioLimits, load_clip
from evaluation.audio_child import load_clip_apart
from evaluation.errors import AudioTooLong, BadAudio

RATE, SECONDS, PITCH = 44_100, 1.5, 440.0
TONE = 0.5 * np.sin(2 * np.pi * PITCH * np.arange(int(RATE * SECONDS)) / RATE).astype(np.float32)


def write_with_ffmpeg(path: Path, codec: str, container: str, rate: int) -> None:
    with av.open(str(path), "w", format=container) as out:
        stream = out.add_stream(codec, rate=rate, layout="stereo")
        count = int(rate * SECONDS)
        tone = 0.5 * np.sin(2 * np.pi * PITCH * np.arange(count) / rate).astype(np.float32)
        frame = av.AudioFrame.from_ndarray(np.stack([tone, tone]), format="fltp", layout="stereo")
        frame.sample_rate = rate
        for part in (frame, None):
            out.mux(stream.encode(part))


def make(path: Path) -> None:
    match path.suffix:
        case ".m4a":
            write_with_ffmpeg(path, "aac", "mp4", RATE)
        case ".webm":
            write_with_ffmpeg(path, "libopus", "webm", 48_000)
        case _:
            soundfile.write(path, np.stack([TONE, TONE], axis=1), RATE)


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3", "m4a", "webm"])
def test_every_container_gives_the_same_tone(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"tone.{suffix}"
    make(path)
    clip = load_clip(path)
    assert clip.samples.dtype == np.float32 and clip.samples.ndim == 1 and clip.sample_rate == SAMPLE_RATE
    assert clip.seconds == len(clip.samples) / SAMPLE_RATE == pytest.approx(SECONDS, abs=0.1)  # codecs pad
    middle = clip.samples[4_000:20_000]
    peak = np.argmax(np.abs(np.fft.rfft(middle))) * SAMPLE_RATE / len(middle)
    assert peak == pytest.approx(PITCH, abs=1.0)
    assert np.sqrt(np.mean(middle**2)) == pytest.approx(0.5 / np.sqrt(2), rel=0.05)


def test_the_name_of_a_file_decides_nothing(tmp_path: Path) -> None:
    make(tmp_path / "tone.webm")
    disguised = (tmp_path / "tone.webm").rename(tmp_path / "tone.wav")
    assert load_clip(disguised).seconds == pytest.approx(SECONDS, abs=0.1)


def test_16_khz_mono_is_kept_bit_for_bit(tmp_path: Path) -> None:
    samples = np.random.default_rng(0).uniform(-1, 1, 8_000).astype(np.float32)
    soundfile.write(tmp_path / "x.wav", samples, SAMPLE_RATE, subtype="FLOAT")
    clip = load_clip(tmp_path / "x.wav")
    assert np.array_equal(clip.samples, samples)
    assert clip.name == "x.wav" and len(clip.sha256) == 64


def test_channels_are_averaged(tmp_path: Path) -> None:
    left, right = np.full(8_000, 0.5, np.float32), np.full(8_000, -0.25, np.float32)
    soundfile.write(tmp_path / "x.wav", np.stack([left, right], axis=1), SAMPLE_RATE, subtype="FLOAT")
    assert np.all(load_clip(tmp_path / "x.wav").samples == 0.125)


def reason(path: Path, limits: AudioLimits | None = None) -> str:
    with pytest.raises(BadAudio) as caught:
        load_clip(path, limits)
    assert str(path.parent) not in str(caught.value)
    for lang in ("ru", "en"):
        assert path.name in caught.value.sentence(lang) and "{" not in caught.value.sentence(lang)
    return str(caught.value.facts["reason"])


def test_what_is_not_audio(tmp_path: Path) -> None:
    path = tmp_path / "x.wav"
    assert reason(path) == "missing"
    path.touch()
    assert reason(path) == "nothing"
    for junk in (b"<html>not found</html>", bytes(range(256)) * 64, b"RIFF" + b"\xff" * 64, b"fLaC" + b"\0" * 64):
        path.write_bytes(junk)
        assert reason(path) in {"unreadable", "damaged", "empty", "no_audio"}


def test_playlists_are_not_followed(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "secret.wav", TONE, RATE)
    playlist = tmp_path / "x.wav"
    for text in (
        f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:1.5,\n{tmp_path}/secret.wav\n#EXT-X-ENDLIST\n",
        f"ffconcat version 1.0\nfile {tmp_path}/secret.wav\n",
    ):
        playlist.write_text(text)
        assert reason(playlist) == "unreadable"


def test_limits(tmp_path: Path) -> None:
    path = tmp_path / "x.wav"

    def write(frames: int, rate: int, channels: int = 1, value: float = 0.1) -> None:
        soundfile.write(path, np.full((frames, channels), value, np.float32), rate, subtype="FLOAT")

    write(0, SAMPLE_RATE)
    assert reason(path) == "empty"
    write(1_599, SAMPLE_RATE)
    assert reason(path) == "short"
    write(1_600, SAMPLE_RATE)
    assert load_clip(path).seconds == 0.1
    write(8_000, 3_999)
    assert reason(path) == "rate"
    assert "WAV" in BadAudio(name="x", reason="damaged").remedy("en")
    assert "WAV" not in BadAudio(name="x", reason="short", value=0.02).remedy("en"), "no format makes it longer"
    write(8_000, SAMPLE_RATE, channels=9)
    assert reason(path) == "channels"
    write(8_000, SAMPLE_RATE, value=float("nan"))
    assert reason(path) == "not_finite"
    write(16_001, SAMPLE_RATE)
    with pytest.raises(AudioTooLong):
        load_clip(path, AudioLimits(max_seconds=1.0))
    with pytest.raises(AudioTooLong):
        load_clip(path, AudioLimits(max_bytes=1_000))


def test_a_small_file_cannot_hold_hours(tmp_path: Path) -> None:
    path = tmp_path / "bomb.flac"
    with soundfile.SoundFile(path, "w", SAMPLE_RATE, 1, subtype="PCM_16", format="FLAC") as sound:
        for _ in range(30):
            sound.write(np.zeros(SAMPLE_RATE * 60, np.int16))
    assert path.stat().st_size < 100_000
    with pytest.raises(AudioTooLong) as caught:
        load_clip(path, AudioLimits(max_seconds=300.0))
    assert "5 мин" in caught.value.sentence("ru") and "5 min" in caught.value.sentence("en")


def test_a_header_that_lies_about_its_length(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    soundfile.write(buffer, TONE, RATE, format="WAV", subtype="PCM_16")
    data = bytearray(buffer.getvalue())
    data[40:44] = struct.pack("<I", 0x7FFFFFFF)
    (tmp_path / "x.wav").write_bytes(data)
    assert load_clip(tmp_path / "x.wav").seconds == pytest.approx(SECONDS)


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3", "m4a", "webm"])
def test_broken_files_never_crash(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"tone.{suffix}"
    make(path)
    whole = path.read_bytes()
    rng = np.random.default_rng(7)
    for _ in range(40):
        data = bytearray(whole[: rng.integers(0, len(whole))])
        for place in rng.integers(0, max(1, len(data)), 6):
            data[place : place + 1] = bytes([rng.integers(256)])
        path.write_bytes(data)
        try:
            clip = load_clip(path, AudioLimits(max_seconds=60))
        except (BadAudio, AudioTooLong):
            continue
        assert np.isfinite(clip.samples).all()


def test_clips_from_memory() -> None:
    pcm = np.array([[0, 16_384], [-32_768, 0]] * 1_000, np.int16)
    clip = AudioClip.from_samples(pcm, SAMPLE_RATE, "mic")
    assert clip.samples[:2].tolist() == [0.25, -0.5]
    assert AudioClip.from_samples(np.zeros(48_000, np.float32), 48_000).seconds == pytest.approx(1.0)
    with pytest.raises(BadAudio):
        AudioClip.from_samples(np.zeros(10, np.float32), SAMPLE_RATE)


def test_a_child_process_reads_the_same(tmp_path: Path) -> None:
    for suffix in ("flac", "webm"):
        make(tmp_path / f"x.{suffix}")
        here, apart = load_clip(tmp_path / f"x.{suffix}"), load_clip_apart(tmp_path / f"x.{suffix}")
        assert np.array_equal(here.samples, apart.samples)
        assert (here.sha256, here.name, here.seconds) == (apart.sha256, apart.name, apart.seconds)


def test_a_child_process_raises_the_same(tmp_path: Path) -> None:
    path = tmp_path / "x.wav"
    path.write_bytes(b"junk")
    with pytest.raises(BadAudio) as bad:
        load_clip_apart(path)
    assert bad.value.facts["reason"] == "unreadable" and "x.wav" in bad.value.sentence("ru")
    make(path)
    with pytest.raises(AudioTooLong) as long:
        load_clip_apart(path, AudioLimits(max_seconds=1.0))
    assert "1" in long.value.sentence("en")


def test_a_child_that_hangs_or_dies_is_bad_audio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path / "x.wav")
    with pytest.raises(BadAudio) as slow:
        load_clip_apart(tmp_path / "x.wav", seconds=0.01)
    assert slow.value.facts["reason"] == "slow"
    monkeypatch.setattr(audio_child.sys, "executable", "/bin/false")
    with pytest.raises(BadAudio) as dead:
        load_clip_apart(tmp_path / "x.wav")
    assert dead.value.facts["reason"] == "damaged"
