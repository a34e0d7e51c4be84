"""An on-policy agent with a model offers all that the Dreamers do, whatever its state is."""

import copy
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.logger import configure
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from dreamzoo.analysis.agreement import compare_with_dream
from dreamzoo.analysis.callbacks import DreamVideoCallback
from dreamzoo.analysis.open_loop import open_loop
from dreamzoo.analysis.playing import play_sequences
from dreamzoo.cli import main
from dreamzoo.common.last_good import destroyed
from dreamzoo.envs import DreamEnv, DreamVectorEnv
from dreamzoo.nn.state import leaves, select
from dreamzoo.planning import CEM, CEMPlanner, ModelRollout
from dreamzoo.testing import check_agent
from tests import second_device
from tests.common.dreaming_agent import DreamingAgent, Recalling
from tests.resuming import assert_equal

STEPS = 12  # of a window


def make_agent(env: Any = "CartPole-v1", n_envs: int = 3, device: str = "cpu") -> DreamingAgent:
    envs = make_vec_env(env, n_envs, seed=0)
    return DreamingAgent("MlpPolicy", envs, seed=0, device=device, n_steps=STEPS)


@pytest.fixture(scope="module")
def agent() -> DreamingAgent:
    return make_agent().learn(5 * 3 * STEPS)


@pytest.fixture(scope="module")
def pendulum() -> DreamingAgent:
    return make_agent("Pendulum-v1").learn(3 * 3 * STEPS)


@pytest.fixture
def saved(agent: DreamingAgent, tmp_path: Path) -> Path:
    agent.save(tmp_path / "model.zip")
    return tmp_path / "model.zip"


def _ages(agent: DreamingAgent) -> list[int]:
    """Numbers of the steps of the last window in their episodes, as environments count them."""
    window = agent.rollout_buffer.window(agent.device)
    age, ages = window.start.state.age.clone(), []
    for t in range(STEPS):
        age = th.where(window.is_first[:, t], 0, age) + 1
        ages.append(age)
    return th.stack(ages, 1).flatten().tolist()


def test_it_keeps_the_contract_of_all_agents() -> None:
    check_agent(DreamingAgent, skip=["arguments_are_documented"])  # it is documented by its tests


# ---------------------------------------------------------------------- where dreams begin


def test_latents_of_the_last_window_are_those_of_its_steps(agent: DreamingAgent) -> None:
    """Across ends of episodes, from the memory that the window before had left."""
    latents = agent.replay_latents(th.Generator().manual_seed(0))
    assert isinstance(latents, Recalling)
    assert not latents.code.requires_grad
    assert latents.age.tolist() == _ages(agent)
    assert len(set(_ages(agent))) > STEPS
    assert latents.rows.shape == (3 * STEPS, 5, 3)
    assert latents.is_written.sum(1).tolist() == [min(age - 1, 5) for age in _ages(agent)]


def test_latents_of_the_last_window_come_from_what_was_really_done(agent: DreamingAgent) -> None:
    latents = agent.replay_latents(th.Generator().manual_seed(0))
    window, generator = agent.rollout_buffer.window(agent.device), th.Generator().manual_seed(0)
    done, state = window.start
    for t in range(STEPS):
        led_here = agent.policy.action_codec.encode(done)
        state = agent.world_model.observe(state, led_here, *window.step(t), generator)
        for one, other in zip(leaves(state), leaves(latents), strict=True):
            assert th.equal(one, other.unflatten(0, (3, STEPS))[:, t])
        done = window.actions[:, t]
    assert len(window.actions.unique(dim=1)[0]) > 1


def test_dreams_begin_in_the_last_window_and_in_what_is_believed_at_first(
    agent: DreamingAgent,
) -> None:
    seen = set(_ages(agent))
    for start, expected in (("initial", {1}), ("replay", seen)):
        dream = DreamVectorEnv(agent, 64, horizon=4, start=start)  # type: ignore[arg-type]
        dream.reset(seed=0)
        ages = dream.latent.age
        assert set(ages.tolist()) <= expected
        dream.step(dream.action_space.sample())
        going = dream._moment.age == 1
        assert th.equal(dream.latent.age[going], ages[going] + 1)
        assert going.any()
    assert len(set(ages.tolist())) > 4


def test_a_dream_begins_after_real_steps(agent: DreamingAgent) -> None:
    context = {"observations": np.zeros((1, 6, 4), np.float32), "actions": np.zeros((1, 5), int)}
    dream = DreamVectorEnv(agent, 3, horizon=5)
    dream.reset(seed=0, options={"context": context})
    assert dream.latent.age.tolist() == [6, 6, 6]
    assert dream.latent.is_written.sum(1).tolist() == [5, 5, 5]
    dream.step(np.zeros(3, int))
    dream.reset(options={"reset_mask": th.tensor([True, False, True])})
    assert dream.latent.age.tolist() == [6, 7, 6]


def test_an_agent_from_a_file_says_that_it_has_no_window(saved: Path) -> None:
    loaded = DreamingAgent.load(saved, device="cpu")
    for begin in (
        loaded.replay_latents,
        lambda: loaded.recorded_sequences(np.random.default_rng()),
    ):
        with pytest.raises(ValueError, match=r"DreamingAgent has no window .*start='initial'"):
            begin()
    DreamVectorEnv(loaded, 2).reset(seed=0)


# ---------------------------------------------------------------------- what dreams do


def test_a_dream_is_the_models_own_steps(agent: DreamingAgent) -> None:
    dream = DreamVectorEnv(agent, 4, horizon=None, termination=None, sample_reward=True)
    dream.reset(seed=0)
    before, model = dream.latent, agent.world_model
    state = dream._generator.get_state()
    obs, reward, _, _, info = dream.step(np.array([0, 1, 1, 0]))
    generator = th.Generator()
    generator.set_state(state)
    action = agent.policy.action_codec.encode(th.tensor([[0], [1], [1], [0]]))
    after = model.imagine_step(before, action, generator)
    for one, other in zip(leaves(dream.latent), leaves(after), strict=True):
        assert th.equal(one, other)
    assert th.equal(obs, model.decode(after))  # type: ignore[arg-type]
    assert th.equal(reward, model.predict(after)[0])
    assert th.equal(info["latent"], model.features(after))
    assert th.equal(info["value"], agent.policy.value(after))


def test_its_three_forms_share_features_and_spaces(agent: DreamingAgent, saved: Path) -> None:
    latent = DreamVectorEnv(agent, 2, observation="latent")
    assert latent.single_observation_space.shape == (11,)
    assert latent.reset(seed=0)[0].shape == (2, 11)  # type: ignore[union-attr]
    single = DreamEnv(str(saved), horizon=3, render_mode="rgb_array")
    obs, info = single.reset(seed=0)
    assert obs.shape == (4,)
    assert info["latent"].shape == (11,)
    assert single.render().shape[2] == 3
    made = gym.make("dreamzoo/DreamEnv-v0", model=agent, horizon=3)
    assert made.reset(seed=0)[0].shape == (4,)
    ppo = PPO("MlpPolicy", agent.dream_env(4, horizon=5), n_steps=8, batch_size=32, device="cpu")
    assert ppo.learn(64).ep_info_buffer


def test_a_copy_of_a_dream_goes_on_alike(agent: DreamingAgent) -> None:
    dream = DreamVectorEnv(agent, 3, horizon=4, start="replay")
    dream.reset(seed=0)
    twin = copy.deepcopy(dream)
    assert twin.latent.rows is not dream.latent.rows
    for _ in range(6):
        action = dream.action_space.sample()
        dream.step(action)
        twin.step(action)
    for one, other in zip(leaves(dream.latent), leaves(twin.latent), strict=True):
        assert th.equal(one, other)


# ---------------------------------------------------------------------- planning


@th.no_grad()
def test_rewards_of_plans_are_those_of_the_models_steps(pendulum: DreamingAgent) -> None:
    model = pendulum.world_model
    latent = select(pendulum.replay_latents(), th.tensor([3, 7]))
    actions = th.rand(2, 4, 3, 1) * 2 - 1
    returns = ModelRollout(model, latent, mode=True)(actions)
    for i in range(2):
        for j in range(4):
            state, total, alive = select(latent, slice(i, i + 1)), 0.0, 1.0
            for action in actions[i, j]:
                state = model.imagine_step(state, action[None], mode=True)
                reward, cont = model.predict(state)
                total += alive * float(reward)
                alive *= float(cont)
            assert float(returns[i, j]) == pytest.approx(total, abs=1e-4)


def test_a_planner_acts_with_the_policys_own_memory(pendulum: DreamingAgent) -> None:
    planner = CEMPlanner(pendulum, CEM(horizon=3, iterations=2, candidates=20, elites=4))
    obs = np.random.default_rng(0).normal(size=(3, 3)).astype(np.float32)
    _, state = planner.predict(obs, deterministic=True)
    assert state is not None
    assert {str(x.dtype) for x in state} == {"float32", "int64", "bool"}
    together, after = planner.predict(obs, state, deterministic=True)
    alone, _ = planner.predict(obs[1:2], tuple(x[1:2] for x in state), deterministic=True)
    np.testing.assert_allclose(alone, together[1:2], atol=1e-5)
    assert after is not None
    np.testing.assert_allclose(after[0], together / 2, atol=1e-5)  # done: in units of the bounds
    assert after[1][:, 0].tolist() == [2, 2, 2]
    dream = DreamEnv(pendulum)
    assert CEMPlanner(dream, planner.cem).predict(dream.reset(seed=0)[0])[0].shape == (1,)


# ---------------------------------------------------------------------- looking at the model


class Ladder(gym.Env):
    """Shows the step and the action that led to it; seven steps an episode."""

    observation_space = spaces.Box(-20, 20, (2,), np.float32)
    action_space = spaces.Discrete(3)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.age = 0
        return np.zeros(2, np.float32), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict]:
        self.age += 1
        obs = np.array([self.age, action], np.float32)
        return obs, 10.0 * self.age + action, self.age == 7, False, {}


def _check_ladder(sequences: Any, length: int) -> None:
    obs, actions = sequences.observations, sequences.actions[..., 0]
    assert obs.shape[1:] == (length, 2)
    assert th.equal(sequences.is_first, obs[..., 0] == 0)
    known = ~sequences.is_first
    known[:, 0] = False
    assert th.equal(actions[known], obs[..., 1][known].long())
    assert th.equal(sequences.rewards[known], 10 * obs[..., 0][known] + obs[..., 1][known])
    assert not sequences.rewards[sequences.is_first].any()
    assert not actions[sequences.is_first].any()
    assert known.sum() > 3 * len(obs)


def test_sequences_say_what_led_where() -> None:
    agent = make_agent(Ladder).learn(2 * 3 * STEPS)
    rng = np.random.default_rng(0)
    _check_ladder(agent.recorded_sequences(rng), STEPS)
    assert len(agent.recorded_sequences(rng).rewards) == 3
    short = agent.recorded_sequences(rng, 100, 9)
    _check_ladder(short, 9)
    assert len(short.rewards) == 3 * 4  # every place once
    assert len(short.observations.unique(dim=0)) > 3  # type: ignore[union-attr]
    assert len(agent.recorded_sequences(rng, 5, 9).rewards) == 5
    _check_ladder(play_sequences(agent, make_vec_env(Ladder, 4), 17), 17)
    with pytest.raises(ValueError, match=r"no sequence of 13 steps: .* has 12"):
        agent.recorded_sequences(rng, 5, 13)


def test_open_loop_decodes_what_the_model_filters_and_imagines(agent: DreamingAgent) -> None:
    batch = agent.recorded_sequences(np.random.default_rng(0), 2, 10)
    shown = open_loop(agent.policy, batch, 4, th.Generator().manual_seed(1))
    model, generator = agent.world_model, th.Generator().manual_seed(1)
    actions, state = agent.policy.action_codec.encode(batch.actions), agent.world_model.initial(2)
    for t in range(10):
        first = batch.is_first[:, t] | (t == 0)
        if t < 4:
            obs: Any = batch.observations
            state = model.observe(state, actions[:, t], obs[:, t], first, generator)
        else:
            state = model.imagine_step(state, actions[:, t], generator)
        th.testing.assert_close(shown.prediction[:, t], model.decode(state))  # type: ignore[index]
        th.testing.assert_close(shown.reward[1, :, t], model.predict(state)[0])


def test_videos_are_logged_at_the_ends_of_windows(tmp_path: Path) -> None:
    agent = make_agent()
    agent.set_logger(configure(str(tmp_path), ["tensorboard"]))
    callback = DreamVideoCallback(every=2 * STEPS, n_sequences=2, length=10, context=3)
    agent.learn(5 * 3 * STEPS, callback)
    events = EventAccumulator(str(tmp_path), {"images": 0, "scalars": 0}).Reload()
    steps = [event.step for event in events.Scalars("dream/reward_error")]
    assert len(steps) == 2
    assert "dream/open_loop" in events.Tags()["images"]


def test_videos_of_sequences_longer_than_a_window_are_refused() -> None:
    with pytest.raises(ValueError, match=r"length=50, but DreamingAgent keeps .* 12 steps"):
        make_agent().learn(10, DreamVideoCallback())


def test_it_is_compared_with_reality(agent: DreamingAgent) -> None:
    result = compare_with_dream(agent, agent, make_vec_env("CartPole-v1", 3), horizon=8)
    assert result.real_returns.tolist() == [8, 8, 8]
    assert np.isfinite(result.observation_error).all()
    assert result.observation_error.shape == (8,)


# ---------------------------------------------------------------------- files and commands


def test_it_is_saved_with_a_memory_of_any_kind(
    agent: DreamingAgent, saved: Path, tmp_path: Path
) -> None:
    loaded = DreamingAgent.load(saved, device="cpu")
    obs = np.ones((2, 4), np.float32)
    state, same = None, None
    for _ in range(3):
        action, state = agent.predict(obs, state, deterministic=True)
        again, same = loaded.predict(obs, same, deterministic=True)
        np.testing.assert_array_equal(action, again)
    assert state is not None
    assert same is not None
    for one, other in zip(state, same, strict=True):
        np.testing.assert_array_equal(one, other)
    assert state[1].dtype == np.int64
    assert state[1].tolist() == [[3], [3]]
    assert evaluate_policy(loaded, make_vec_env("CartPole-v1"), 2)[0] > 5  # type: ignore[operator]


def test_training_goes_on_exactly_in_the_middle_of_episodes(tmp_path: Path) -> None:
    def learn(agent: DreamingAgent) -> Any:
        agent.learn(2 * 3 * STEPS, reset_num_timesteps=False)
        return agent.get_parameters()

    agent = make_agent().learn(3 * STEPS)
    agent.save(tmp_path / "model")
    agent.save_training_state(tmp_path / "state")
    expected = learn(agent)
    loaded = DreamingAgent.load(tmp_path / "model", make_vec_env("CartPole-v1", 3), device="cpu")
    loaded.load_training_state(tmp_path / "state", trusted=True)
    assert loaded._last_state.state.age.dtype == th.int64  # type: ignore[union-attr]
    assert_equal(learn(loaded), expected)


def test_commands_work_without_a_replay(
    saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, out = ["--model", str(saved)], str(tmp_path / "out")
    shown = ["--sequences", "2", "--length", "9", "--context", "3", "--out", out]
    main(["dream", *model, "--env", "CartPole-v1", *shown])
    assert (tmp_path / "out" / "open_loop.png").exists()
    main(["compare", *model, "--episodes", "2", "--horizon", "5", "--out", out])
    assert "return in the dream" in capsys.readouterr().out
    few = ["--dream-steps", "64", "--n-dreams", "4", "--episodes", "2", "--horizon", "8"]
    main(["ppo-in-dream", *model, *few])
    assert '"ppo_in_dream"' in capsys.readouterr().out
    for command in (["dream"], ["ppo-in-dream", *few]):
        with pytest.raises(SystemExit, match=r"DreamingAgent .* keeps no replay"):
            main([*command, *model, "--replay", str(saved)])


def test_a_model_that_is_destroyed_is_found_whatever_its_policy_remembers() -> None:
    agent = make_agent()
    assert not destroyed(agent)
    agent.world_model.prior.bias.data.fill_(10.0)  # codes are large
    agent.world_model.reward.weight.data.fill_(3e38)  # finite, and what it predicts is not
    agent.world_model.reward.bias.data.fill_(3e38)
    assert destroyed(agent) == ["predicted reward"]


# ---------------------------------------------------------------------- the second device


def test_everything_stays_on_its_device(device: str) -> None:
    agent = make_agent("Pendulum-v1", device=device).learn(2 * 3 * STEPS)
    for start in ("initial", "replay"):
        dream = DreamVectorEnv(agent, 3, horizon=4, start=start)
        dream.reset(seed=0)
        assert {part.device.type for part in leaves(dream.latent)} == {device}
        actions = th.as_tensor(dream.action_space.sample(), device=device)
        dream.step(actions)
        with second_device.counting() as copies:
            for _ in range(6):
                dream.step(actions)
        assert not copies
    planner = CEMPlanner(agent, CEM(horizon=2, iterations=1, candidates=4, elites=2))
    obs = np.zeros((2, 3), np.float32)
    _, state = planner.predict(obs)
    assert planner.predict(obs, state)[0].shape == (2, 1)
    shown = open_loop(agent.policy, agent.recorded_sequences(np.random.default_rng(0)), 4)
    assert shown.reward.device.type == device
