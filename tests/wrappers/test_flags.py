"""Simulators that tell the ends of episodes in numbers."""

from typing import Any

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, VectorEnv, VectorWrapper

from dreamzoo.wrappers.vector import (
    EpisodeDiscount,
    NumpyToTorch,
    PreviousActionReward,
    RepeatAction,
    TorchToNumpy,
)


class Numbers(VectorWrapper):
    """Turns flags into numbers."""

    def __init__(self, env: VectorEnv, dtype: Any) -> None:
        super().__init__(env)
        self.dtype = dtype

    def step(self, actions: Any) -> Any:
        obs, rewards, terminations, truncations, infos = self.env.step(actions)
        flags = terminations.astype(self.dtype), truncations.astype(self.dtype)
        return obs, rewards, *flags, infos


def _play(make: Any, toy: Any, mode: AutoresetMode, dtype: Any) -> list[Any]:
    """Collect what a step tells, flags as flags."""
    env = make(Numbers(toy.ToyVectorEnv(mode=mode), dtype))
    env.reset(seed=0)
    space, seen, ended = env.single_action_space, [], []
    space.seed(0)
    for _ in range(30):
        actions = np.stack([space.sample() for _ in range(env.num_envs)])
        obs, rewards, *flags, infos = env.step(actions)
        ends = [np.asarray(flag, bool) for flag in flags]
        ended.append(ends)
        final = infos.get("final_obs")
        rows = np.flatnonzero(ends[0] | ends[1]) if final is not None else ()
        seen += [obs, rewards, *ends, infos.get("discount"), *(final[row] for row in rows)]
    assert sum(flag.sum() for step in ended for flag in step) > 3
    return seen


MAKERS = {
    "discount": EpisodeDiscount,
    "previous": PreviousActionReward,
    "shown discount": lambda env: EpisodeDiscount(env, add_to_observation=True),
    "converted": lambda env: TorchToNumpy(NumpyToTorch(env)),
    "in torch": lambda env: TorchToNumpy(PreviousActionReward(EpisodeDiscount(NumpyToTorch(env)))),
    "repeated": lambda env: RepeatAction(env, 2),
}


@pytest.mark.parametrize("dtype", [np.int64, np.uint8, np.float32])
@pytest.mark.parametrize("name", MAKERS)
def test_numbers_mean_the_same_as_flags(toy: Any, name: str, dtype: Any) -> None:
    mode = AutoresetMode.DISABLED if name == "repeated" else AutoresetMode.SAME_STEP
    found, expected = (_play(MAKERS[name], toy, mode, kind) for kind in (dtype, bool))
    np.testing.assert_equal(found, expected)
