"""MERLIN, and RL-MEM and RL-LSTM, which it is compared with."""

from dreamzoo.merlin.losses import kl_loss, policy_loss, reconstruction_loss, return_loss
from dreamzoo.merlin.merlin import MERLIN
from dreamzoo.merlin.policies import CnnPolicy, MerlinPolicy, MlpPolicy, MultiInputPolicy
from dreamzoo.merlin.rl_mem import RLLSTM, RLMEM
from dreamzoo.merlin.rl_policies import RLMEMPolicy
from dreamzoo.merlin.sizes import SIZES, Size, get_size

__all__ = [
    "MERLIN",
    "RLLSTM",
    "RLMEM",
    "SIZES",
    "CnnPolicy",
    "MerlinPolicy",
    "MlpPolicy",
    "MultiInputPolicy",
    "RLMEMPolicy",
    "Size",
    "get_size",
    "kl_loss",
    "policy_loss",
    "reconstruction_loss",
    "return_loss",
]
