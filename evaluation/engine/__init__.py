"""The fast greedy engine for Whisper; needs torch, and transformers only for the module that it reads."""

from evaluation.engine.engine import Identity, Kept, WhisperEngine, Workspace, supported

__all__ = ["Identity", "Kept", "WhisperEngine", "Workspace", "supported"]
