"""
Worlds from recorded data.

A :class:`Recording` is read from a Minari dataset, a folder of npz files or a replay buffer of
SB3; ``model.fit_replay(recording)`` and ``model.learn_offline(updates)`` learn from it.
"""

from dreamzoo.common.recording import Episode, RecordedEnv, Recording, StoredEpisodes
from dreamzoo.offline.held_out import held_out_errors
from dreamzoo.offline.minari import read_minari
from dreamzoo.offline.npz import read_npz, write_npz
from dreamzoo.offline.replay_buffer import read_replay_buffer

__all__ = [
    "Episode",
    "RecordedEnv",
    "Recording",
    "StoredEpisodes",
    "held_out_errors",
    "read_minari",
    "read_npz",
    "read_replay_buffer",
    "write_npz",
]
