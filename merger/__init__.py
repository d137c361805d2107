"""Weights of Whisper models: methods, recipes, checkpoints, merging to disk and in device memory.

Knows no audio and no interface. Importing this package imports neither torch nor transformers: a merge on the CPU
needs numpy alone, and the command line has to answer at once.
"""

__version__ = "0.1.0"
