"""Collecting, planning and predicting."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy

from dreamzoo import DreamerV3, PlaNet
from dreamzoo.cli import train
from dreamzoo.envs import DreamEnv, DreamVectorEnv
from dreamzoo.envs.dreams.load_model import load_model
from dreamzoo.nn.rssm.dynamics import Latent
from dreamzoo.planning import CEM, CEMPlanner, ModelRollout
from dreamzoo.planning.cem import Plan
from tests.sb3.conftest import TINY, TINY_POLICY, RandomEnv

MakeAgent = Callable[..., PlaNet]

SEEDED = dict(learning_starts=None, train_ratio=None)


def actions_of(agent: PlaNet) -> np.ndarray:
    return np.stack(agent.get_env().envs[0].unwrapped.actions)  # type: ignore[union-attr]


def test_updates_follow_episodes(make_agent: MakeAgent, monkeypatch: pytest.MonkeyPatch) -> None:
    """Section 1.8: S random episodes, then C updates after each; the seeds count as one."""
    agent = make_agent(seed_episodes=3, collect_interval=7, **SEEDED)
    rounds: list[tuple[int, int]] = []
    monkeypatch.setattr(agent, "train", lambda n, _: rounds.append((agent.num_timesteps, n)))
    agent.learn(55)
    assert rounds == [(30, 7), (40, 7), (50, 7)]


def test_a_second_call_of_learn_goes_on(
    make_agent: MakeAgent, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """SB3 counts episodes anew then; the agent must neither act at random nor miss updates."""
    agent = make_agent(seed_episodes=2, collect_interval=3, **SEEDED).learn(40)
    assert agent._n_updates == 3 * 3
    agent.save(tmp_path / "agent")
    for again in (agent, PlaNet.load(tmp_path / "agent", env=agent.get_env())):
        chosen: list[th.Tensor] = []
        still = th.zeros(1, 2)
        monkeypatch.setattr(again.policy, "choose", lambda *_, c=chosen, s=still: c.append(s) or s)
        again.learn(20)
        assert len(chosen) == 20
        assert again._n_updates == 5 * 3


def test_seed_episodes_are_uniformly_random(make_agent: MakeAgent) -> None:
    agent = make_agent(seed_episodes=1, length=1_000, candidates=2, elites=1, **SEEDED).learn(999)
    actions = actions_of(agent)
    assert np.abs(actions).max() < 1.0
    assert abs(actions.mean()) < 0.05
    assert abs(actions.std() - 3**-0.5) < 0.02


def test_random_collection_still_plans_predictions(make_agent: MakeAgent) -> None:
    agent = make_agent(random_collection=True).learn(30)
    assert agent._n_updates > 0
    obs = np.zeros((1, 3), np.float32)
    one, _ = agent.predict(obs, deterministic=True)
    agent.policy.planner = CEM(2, 1, 4, 1)
    assert not np.array_equal(one, agent.predict(obs, deterministic=True)[0])


def test_exploration_noise_is_for_collecting_only(
    make_agent: MakeAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = make_agent(exploration_noise=0.3, learning_starts=0, length=1_000)
    still = th.tensor([[0.0, 0.9]])
    monkeypatch.setattr(agent.policy, "choose", lambda *_: still)
    monkeypatch.setattr(agent, "train", lambda *_: None)
    agent.learn(999)
    actions = actions_of(agent)[100:]
    assert abs(actions[:, 0].std() - 0.3) < 0.03
    assert actions[:, 1].max() == 1.0
    state = agent.policy.initial_state(1)
    chosen, _ = agent.policy.step(th.zeros(1, 3), state, th.ones(1, dtype=th.bool))
    assert th.equal(chosen, still)


def test_noise_stays_within_the_bounds_in_the_replay_too(make_agent: MakeAgent) -> None:
    agent = make_agent(exploration_noise=3.0, learning_starts=0, gradient_steps=0).learn(40)
    assert agent.replay_buffer is not None
    actions = agent.replay_buffer.actions[:40]
    assert np.abs(actions).max() == 1.0
    assert (np.abs(actions) < 1.0).any()


def test_the_first_step_of_a_plan_is_taken(
    make_agent: MakeAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = make_agent()
    mean = th.tensor([[0.1, -0.2], [0.3, -0.4], [0.5, -0.6]])[None]  # (N, H, A)
    monkeypatch.setattr(CEM, "plan", lambda *_, **__: Plan(mean, th.ones_like(mean), th.zeros(1)))
    latent = agent.policy.world_model.initial(1)
    assert th.equal(agent.policy.choose(latent), mean[:, 0])


def test_plans_are_rated_as_a_slow_loop_rates_them(make_agent: MakeAgent) -> None:
    agent = make_agent().learn(20)
    model = agent.policy.world_model
    latent = Latent(th.randn(2, 8), th.randn(2, 3, 1))
    actions = 2 * th.rand(2, 5, 4, 2) - 1
    returns = ModelRollout(model, latent, mode=True)(actions)
    with th.no_grad():
        for n in range(2):
            for j in range(5):
                state, total = Latent(*(part[n : n + 1] for part in latent)), 0.0
                for h in range(4):
                    state = model.imagine_step(state, actions[n, j, h][None], mode=True)
                    total += model.predict(state)[0].item()
                assert returns[n, j].item() == pytest.approx(total, abs=1e-5)


def test_rewards_after_the_end_do_not_count() -> None:
    """Models that know of termination weigh what follows by the chance to get there."""
    agent = DreamerV3("MlpPolicy", RandomEnv(), policy_kwargs=dict(size="debug"), seed=0)
    model = agent.policy.world_model
    with th.no_grad():
        model.reward.out.bias[3] = 100.0  # always the second largest of five bins
        model.cont.out.weight.zero_()
        model.cont.out.bias.fill_(float(np.log(0.5 / (1 / model.gamma - 0.5))))
    reward, cont = (float(x.detach()) for x in model.predict(model.initial(1)))
    assert cont == pytest.approx(0.5, abs=1e-4)
    total = ModelRollout(model, model.initial(1), mode=True)(th.zeros(1, 1, 4, 2))
    assert total.item() == pytest.approx(reward * (1 + 0.5 + 0.25 + 0.125), rel=1e-3)


def test_deterministic_predictions_are_a_pure_function(make_agent: MakeAgent) -> None:
    agent = make_agent().learn(40)
    obs = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    state, many = None, []
    for _ in range(3):
        action, state = agent.predict(obs, state, deterministic=True)
        many.append(action)
    th.manual_seed(123)
    for row in range(4):
        state = None
        for step in range(3):
            action, state = agent.predict(obs[row : row + 1], state, deterministic=True)
            np.testing.assert_allclose(action[0], many[step][row], atol=1e-5)
    drawn = [agent.predict(obs)[0] for _ in range(2)]
    assert not np.array_equal(drawn[0], drawn[1])


@pytest.mark.parametrize("dynamics", ["rssm", "ssm", "rnn"])
def test_dreams(make_agent: MakeAgent, dynamics: str) -> None:
    agent = make_agent(policy_kwargs=dict(dynamics=dynamics)).learn(40)
    dream = DreamVectorEnv(agent, 3, start="replay", horizon=5)
    obs, info = dream.reset(seed=0)
    assert isinstance(obs, th.Tensor)
    assert obs.shape == (3, 3)
    for _ in range(6):
        obs, reward, terminated, _, info = dream.step(np.zeros((3, 2), np.float32))
        assert reward.shape == (3,)
        assert not terminated.any()
    assert bool(info["entropy"].isfinite().all())
    again, _ = dream.reset(seed=0)
    first, _ = dream.reset(seed=0)
    assert isinstance(again, th.Tensor)
    assert th.equal(again, first)  # type: ignore[arg-type]


def test_image_dreams_look_like_the_environment(make_agent: MakeAgent) -> None:
    agent = make_agent(spaces.Box(0, 255, (36, 40, 3), np.uint8), "CnnPolicy").learn(20)
    assert agent._n_updates > 0
    dream = agent.dream_env(n_envs=2)
    assert np.asarray(dream.reset()).shape == (2, 3, 36, 40)
    assert np.asarray(dream.step(np.zeros((2, 2), np.float32))[0]).dtype == np.uint8


def test_a_planner_is_a_policy_for_reality_and_dreams(make_agent: MakeAgent) -> None:
    cem = CEM(horizon=2, iterations=2, candidates=6, elites=2)
    planet = make_agent().learn(20)
    dreamer = DreamerV3(
        "MlpPolicy", RandomEnv(), policy_kwargs=dict(size="debug"), gradient_steps=0, seed=0
    ).learn(4)
    for agent in (planet, dreamer):
        dream = DreamVectorEnv(agent, 3, horizon=4)
        planner = CEMPlanner(dream, cem)
        obs, _ = dream.reset(seed=0)
        action, state = planner.predict(obs)
        assert action.shape == (3, 2)
        obs, *_ = dream.step(action)
        planner.predict(obs, state, np.zeros(3, bool))
        for env in (agent.get_env(), agent.dream_env(2, horizon=4)):
            evaluate_policy(planner, env, 2, deterministic=True, warn=False)  # type: ignore[arg-type]
    seen = np.zeros((1, 3), np.float32)
    planet.policy.planner = cem
    expected = planet.predict(seen, deterministic=True)[0]
    assert np.array_equal(CEMPlanner(planet, cem).predict(seen, deterministic=True)[0], expected)


def test_planners_need_a_model_and_continuous_actions() -> None:
    discrete = RandomEnv(action_space=spaces.Discrete(2))
    with pytest.raises(ValueError, match="needs a Box"):
        CEMPlanner(DreamerV3("MlpPolicy", discrete, policy_kwargs=dict(size="debug")))
    with pytest.raises(ValueError, match="has no world model"):
        CEMPlanner("model.zip")
    with pytest.raises(AssertionError, match="only supports"):
        PlaNet("MlpPolicy", discrete)


@pytest.mark.parametrize(
    "settings",
    [
        dict(elites=20),
        dict(seed_episodes=-1),
        dict(exploration_noise=-0.1),
        dict(candidates=0),
        dict(free_nats=-1.0),
        dict(kl_coef=-1.0),
        dict(max_grad_norm=0.0),
        dict(learning_starts=-1),
    ],
)
def test_numbers_that_make_no_agent(make_agent: MakeAgent, settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"at least|more than 0"):
        make_agent(**settings)


def test_unknown_dynamics(make_agent: MakeAgent) -> None:
    with pytest.raises(ValueError, match="'rssm', 'ssm' or 'rnn'"):
        make_agent(policy_kwargs=dict(dynamics="lstm"))


def test_files_of_the_other_agent(make_agent: MakeAgent, tmp_path: Path) -> None:
    """An agent refuses them by name; what takes any agent finds out which it is."""
    make_agent().save(tmp_path / "planet")
    with pytest.raises(ValueError, match=r"planet holds a PlaNet, not a DreamerV3"):
        DreamerV3.load(tmp_path / "planet")
    assert isinstance(load_model(tmp_path / "planet"), PlaNet)


def test_published_settings() -> None:
    args = train.parse_args(
        ["--agent", "planet", "--env", "dmc_pixels/cartpole-swingup", "--published"]
    )
    assert (args.policy, args.steps) == ("CnnPolicy", 125_000)
    assert dict(args.env_kwargs) == {"action_repeat": 8}
    agent = PlaNet(args.policy, RandomEnv(spaces.Box(0, 255, (64, 64, 3), np.uint8)))
    assert (agent.batch_size, agent.batch_length, agent.free_nats) == (50, 50, 3.0)
    assert agent.policy.planner == CEM(horizon=12, iterations=10, candidates=1_000, elites=100)
    task = ["--agent", "planet", "--env", "dmc_pixels/cartpole-swingup", "--published"]
    assert train.parse_args([*task, "--steps", "9"]).steps == 9
    fast = train.parse_args([*task, "-e", "render_quality=fast", "action_repeat=6"])
    assert dict(fast.env_kwargs) == {"action_repeat": 6, "render_quality": "fast"}
    with pytest.raises(SystemExit, match="No published settings"):
        train.parse_args(["--agent", "planet", "--env", "CartPole-v1", "--published"])


def test_a_planner_takes_every_face_of_a_dream() -> None:
    agent = PlaNet("MlpPolicy", "Pendulum-v1", policy_kwargs=TINY_POLICY["planet"])
    for dream in (agent.dream_env(2), DreamEnv(agent), DreamVectorEnv(agent, 2)):
        assert CEMPlanner(dream).policy is agent.policy


def test_settings_given_when_loading_count(tmp_path: Path) -> None:
    env = make_vec_env("Pendulum-v1", 1, seed=0)
    settings = dict(TINY["planet"], train_ratio=None, learning_starts=None, seed_episodes=0)
    PlaNet("MlpPolicy", env, policy_kwargs=TINY_POLICY["planet"], **settings).save(tmp_path / "m")
    agent = PlaNet.load(tmp_path / "m", env=env, gradient_steps=3)
    agent.learn(20)
    assert agent._n_updates == 3 * (20 - 3)
    assert PlaNet.load(tmp_path / "m", env=env, train_ratio=None).learn(10)._n_updates == 100


def test_plans_follow_settings_that_were_changed(tmp_path: Path) -> None:
    agent = PlaNet(
        "MlpPolicy", "Pendulum-v1", policy_kwargs=TINY_POLICY["planet"], **TINY["planet"]
    )
    agent.learn(2)
    agent.policy.planner = own = CEM(1, 1, 3, 1)
    agent.learn(2, reset_num_timesteps=False)
    assert agent.policy.planner is own
    agent.candidates = 8
    agent.learn(2, reset_num_timesteps=False)
    assert agent.policy.planner == CEM(2, 2, 8, 2)
    agent.save(tmp_path / "agent")
    assert PlaNet.load(tmp_path / "agent").policy.planner == CEM(2, 2, 8, 2)
    agent.elites = 9
    with pytest.raises(ValueError, match="elites at most candidates"):
        agent.learn(2, reset_num_timesteps=False)
