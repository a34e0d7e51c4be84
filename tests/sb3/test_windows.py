"""Agents that learn from what they have just done, as SB3's on-policy and recurrent ones do."""

from typing import Any

import numpy as np
import pytest
import torch as th
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from dreamzoo.nn.state import leaves
from tests.facts import HAS_MODEL, ON_POLICY
from tests.resuming import assert_equal
from tests.sb3.conftest import RandomEnv
from tests.sb3.stored import Windows


@pytest.fixture(params=ON_POLICY)
def agent_name(request: pytest.FixtureRequest) -> str:
    """Not every agent: those that have no replay."""
    return request.param


def _envs(*lengths: int) -> DummyVecEnv:
    """Make environments whose episodes have so many steps."""
    env = DummyVecEnv([lambda n=n: Monitor(RandomEnv(length=n)) for n in lengths])  # type: ignore[misc]
    env.seed(3)
    return env


class Again(BaseCallback):
    """Goes through every window again, with the same draws."""

    def __init__(self) -> None:
        super().__init__()
        self.windows = 0

    def _on_step(self) -> bool:
        return True

    def _on_rollout_start(self) -> None:
        self.before = self.model._generator.get_state()  # type: ignore[attr-defined]

    def _on_rollout_end(self) -> None:
        agent: Any = self.model
        window, policy = agent.rollout_buffer.window(agent.device), agent.policy
        generator = th.Generator()
        generator.set_state(self.before)
        memory = window.start
        for t in range(window.rewards.shape[1]):
            at = window.observations[:, t], memory, window.is_first[:, t]
            action, memory = policy.act(*at, generator)
            assert th.equal(action, window.actions[:, t])
            memory = policy.told(memory, window.rewards[:, t])
        assert_equal(leaves(memory), leaves(agent._last_state))
        self.windows += 1


def test_a_window_holds_all_that_its_actions_followed_from(make_agent: Any) -> None:
    """Across ends of episodes, and from the memory that the window before has left."""
    again = Again()
    make_agent(_envs(3, 5), n_steps=4).learn(40, again)
    assert again.windows == 5


@pytest.mark.parametrize("normalize", [False, True])
def test_memories_and_episodes_go_on_from_call_to_call(make_agent: Any, normalize: bool) -> None:
    """Unless the counters begin anew, and so do episodes."""
    env: Any = _envs(30, 30)
    agent, windows = make_agent(VecNormalize(env) if normalize else env, n_steps=3), Windows()
    for goes_on in (True, True, False):
        left = agent._last_state
        agent.learn(6, windows, reset_num_timesteps=not goes_on)
        window = windows.kept[-1]
        if left is not None and goes_on:
            assert_equal(leaves(window.start), leaves(left))
        assert window.is_first[:, 0].tolist() == [left is None or not goes_on] * 2
        assert not window.is_first[:, 1:].any()
    assert [len(window.endings.rows) for window in windows.kept] == [0] * 3


def test_other_numbers_of_rows_can_be_acted_for(make_agent: Any, shake: Any) -> None:
    """Each for itself: their memories are apart."""
    agent = shake(make_agent(n_envs=2))
    obs = np.stack([agent.observation_space.sample() for _ in range(5)])
    sizes = agent.policy.memory.sizes
    together: Any = None
    alone: list[Any] = [None] * 5
    for t in range(3):
        starts = np.array([t == 2, False, False, False, t == 1])
        action, together = agent.predict(obs, together, starts, deterministic=True)
        assert [part.shape for part in together] == [(5, size) for size in sizes]
        for i in range(5):
            start = starts[i : i + 1]
            one, alone[i] = agent.predict(obs[i], alone[i], start, deterministic=True)
            np.testing.assert_allclose(one, action[i], rtol=1e-3, atol=1e-4)
            for part, whole in zip(alone[i], together, strict=True):
                np.testing.assert_allclose(part[0], whole[i], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("agent_name", HAS_MODEL.keys() & ON_POLICY)
def test_dreams_go_on_from_what_was_remembered(make_agent: Any, shake: Any) -> None:
    """With what actions have earned; here nothing is drawn, or other states would be as good."""
    calm = {"policy_kwargs": {"stochastic": False}, "learning_rate": 0.0}
    agent, seen = shake(make_agent(_envs(3, 5), n_steps=4, **calm)), []

    def keep(*_: Any) -> bool:
        seen.append(agent._last_state.latent)
        return True

    agent.learn(8, keep)
    latents = leaves(agent.replay_latents())
    for t, latent in enumerate(seen):
        for part, then in zip(latents, leaves(latent), strict=True):
            th.testing.assert_close(part.view(2, 4, *part.shape[1:])[:, t], then)


def test_what_ends_an_episode_reaches_its_value(make_agent: Any) -> None:
    """Nothing follows a termination; a time limit is looked beyond, and so is a window's end."""

    class Limited(RandomEnv):
        def step(self, action: Any) -> Any:
            obs, reward, done, _, info = super().step(action)
            return obs, reward, False, done, info

    env, windows = DummyVecEnv([lambda: RandomEnv(length=3), lambda: Limited(length=3)]), Windows()
    agent = make_agent(env, n_steps=5).learn(10, windows)
    (window,) = windows.kept
    assert window.is_last.int().tolist() == [[0, 0, 1, 0, 0]] * 2
    assert (window.bootstrap != 0).int().tolist() == [[0, 0, 0, 0, 1], [0, 0, 1, 0, 1]]
    assert window.endings.is_terminal.tolist() == [True, False]
    assert window.endings.rows.tolist() == [0, 1]
    assert window.endings.steps.tolist() == [2, 2]
    assert agent._n_updates == 1


def test_a_window_alone_decides_the_update(make_agent: Any, same_parameters: Any) -> None:
    """Evaluating, acting and going through it before change nothing in what is learned."""

    class Curious(BaseCallback):
        def _on_step(self) -> bool:
            self.model.predict(np.zeros(3, np.float32))
            return True

        def _on_rollout_end(self) -> None:
            agent: Any = self.model
            state = agent._generator.get_state()
            agent.losses(agent.rollout_buffer.window(agent.device))
            agent._generator.set_state(state)

    plain = make_agent(_envs(3, 5)).learn(24)
    assert same_parameters(plain, make_agent(_envs(3, 5)).learn(24, Curious()))


def test_updates_need_a_window_and_gradients(make_agent: Any) -> None:
    agent = make_agent()
    with pytest.raises(ValueError, match=r"no window of steps to learn from; learn\(\) collects"):
        agent.train()
    agent.learn(8)
    updates = agent._n_updates
    for disabled in (th.no_grad, th.inference_mode):
        with disabled(), pytest.raises(RuntimeError, match=r"outside of torch\.no_grad"):
            agent.train()
    agent.train()
    assert agent._n_updates == updates + 1
