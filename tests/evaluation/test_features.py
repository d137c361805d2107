"""The log-mel spectrogram is that of transformers' feature extractor."""

import numpy as np
import pytest
import torch
from transformers import WhisperFeatureExtractor

from evaluation.features import content_frames, log_mel


@pytest.mark.parametrize("mel_bins", [80, 128])
@pytest.mark.parametrize("count", [1_000, 160_000, 479_999, 480_000, 480_001, 700_123])
def test_equals_the_feature_extractor(mel_bins: int, count: int) -> None:
    samples = (0.1 * np.random.default_rng(count).standard_normal(count)).astype(np.float32)
    long = {"truncation": False, "padding": "longest"} if count > 480_000 else {}
    extractor = WhisperFeatureExtractor(feature_size=mel_bins)
    expected = extractor(samples, sampling_rate=16_000, return_tensors="pt", **long).input_features[0]
    found = log_mel(samples, mel_bins, device="cpu")
    assert found.dtype == torch.float32 and found.shape[1] % 3000 == 0
    assert torch.equal(found[:, : expected.shape[1]], expected)
    assert not found[:, expected.shape[1] :].any()


def test_shape_follows_the_length() -> None:
    assert log_mel(np.zeros(1, np.float32), 80, device="cpu").shape == (80, 3000)
    assert log_mel(np.ones(480_160, np.float32), 80, device="cpu").shape == (80, 6000)


def test_content_frames_are_ten_milliseconds_each() -> None:
    assert [content_frames(n) for n in (0, 1, 160, 161, 480_000, 480_319)] == [0, 1, 1, 2, 3000, 3001]


def test_two_channels_are_refused() -> None:
    with pytest.raises(ValueError, match="one-dimensional"):
        log_mel(np.zeros((2, 100), np.float32), 80, device="cpu")
