"""External memory, read by content: usable in any torch program."""

from dreamzoo.nn.memory.deep_lstm import DeepLSTM, Hidden
from dreamzoo.nn.memory.external import ExternalMemory, ReadHeads, Reads, Rows
from dreamzoo.nn.memory.predictor import MemoryBasedPredictor, PredictorState
from dreamzoo.nn.memory.reader import MemoryReader, Reading

__all__ = [
    "DeepLSTM",
    "ExternalMemory",
    "Hidden",
    "MemoryBasedPredictor",
    "MemoryReader",
    "PredictorState",
    "ReadHeads",
    "Reading",
    "Reads",
    "Rows",
]
