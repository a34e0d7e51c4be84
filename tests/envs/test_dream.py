"""The dream's three faces: interfaces, randomness, resets, starts, bad input."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pygame
import pytest
import torch as th
from gymnasium import spaces
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env
from gymnasium.utils.play import PlayableGame
from gymnasium.vector import AutoresetMode
from gymnasium.wrappers import RecordVideo
from stable_baselines3 import DQN, PPO
from stable_baselines3.common.env_checker import check_env as sb3_check_env
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import VecEnv, VecMonitor, VecNormalize

from dreamzoo import DreamerV3
from dreamzoo.envs import DreamEnv, DreamVecEnv, DreamVectorEnv
from dreamzoo.nn import Latent


class Toy(gym.Env):
    """
    Random observations of any space, five steps an episode.

    :param observation_space: what it shows
    :param action_space: what it takes
    """

    def __init__(self, observation_space: spaces.Space, action_space: spaces.Space) -> None:
        self.observation_space, self.action_space = observation_space, action_space
        self.age = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.observation_space.seed(seed)
        self.age = 0
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> Any:
        self.age += 1
        return self.observation_space.sample(), 1.0, self.age == 5, False, {}


VECTOR = spaces.Box(-2, 2, (3,), np.float32)
IMAGE = spaces.Box(0, 255, (36, 36, 3), np.uint8)
MIXED = spaces.Dict({"image": IMAGE, "number": spaces.Discrete(4), "vector": VECTOR})
SPACES = [VECTOR, IMAGE, MIXED]
DISCRETE = spaces.Discrete(3)
SHIFTED = spaces.Discrete(3, start=1)
BOX = spaces.Box(np.array([-2, 0], np.float32), np.array([2, 5], np.float32))


def make_agent(
    observation_space: spaces.Space, action_space: spaces.Space, steps: int = 60
) -> DreamerV3:
    """Train a tiny agent for nothing but to have one."""
    policy = "MultiInputPolicy" if isinstance(observation_space, spaces.Dict) else "MlpPolicy"
    policy = "CnnPolicy" if len(observation_space.shape or ()) == 3 else policy
    env = make_vec_env(lambda: Toy(observation_space, action_space), n_envs=2, seed=0)
    return DreamerV3(
        policy,
        env,
        policy_kwargs=dict(size="debug"),
        batch_size=2,
        batch_length=8,
        train_ratio=1,
        seed=0,
    ).learn(steps)


@pytest.fixture(scope="module")
def agent() -> DreamerV3:
    return make_agent(VECTOR, DISCRETE)


@pytest.fixture(scope="module")
def image_agent() -> DreamerV3:
    return make_agent(IMAGE, BOX)


def rollout(dream: DreamVectorEnv, steps: int = 12, seed: int = 3) -> list[th.Tensor]:
    """Collect everything that a few steps of random actions return."""
    dream.action_space.seed(0)
    obs, _ = dream.reset(seed=seed)
    assert isinstance(obs, th.Tensor)
    seen = [obs]
    for _ in range(steps):
        obs, reward, terminated, truncated, info = dream.step(dream.action_space.sample())
        assert isinstance(obs, th.Tensor)
        seen += [obs, reward, terminated, truncated, info["latent"], info["continue"]]
    return seen


# -------------------------------------------------------------------- the vector environment


@pytest.mark.parametrize(
    "observation_space", [VECTOR, IMAGE, MIXED], ids=["vector", "image", "dict"]
)
@pytest.mark.parametrize("action_space", [SHIFTED, BOX, spaces.MultiDiscrete([2, 3])])
def test_dreams_keep_to_the_spaces_of_the_agent(
    observation_space: spaces.Space, action_space: spaces.Space
) -> None:
    agent = make_agent(observation_space, action_space, steps=20)
    dream = DreamVectorEnv(agent, 3, horizon=4)
    assert dream.single_observation_space == agent.observation_space
    assert dream.single_action_space == agent.action_space
    obs, info = dream.reset(seed=0)
    for _ in range(6):
        parts = obs if isinstance(obs, dict) else {"": obs}
        rows = [{k: v[i].numpy() for k, v in parts.items()} for i in range(3)]
        for row in rows:
            value: Any = row if isinstance(obs, dict) else row[""]
            assert _contains(dream.single_observation_space, value)
        assert set(info) >= {"latent", "continue", "entropy", "value"}
        assert all(info[k].shape == (3,) for k in ("continue", "entropy", "value"))
        assert (info["entropy"] > 0).all()
        assert ((info["continue"] > 0) & (info["continue"] <= 1)).all()
        obs, reward, terminated, truncated, info = dream.step(dream.action_space.sample())
        assert (reward.dtype, reward.shape) == (th.float32, (3,))
        assert terminated.dtype == truncated.dtype == th.bool


def _contains(space: spaces.Space, value: Any) -> bool:
    if isinstance(space, spaces.Dict):
        return all(_contains(part, value[name]) for name, part in space.items())
    return bool(space.contains(value if space.shape else value[()]))


def test_latent_observations_are_the_features(agent: DreamerV3) -> None:
    dream = DreamVectorEnv(agent, 3, observation="latent")
    obs, info = dream.reset(seed=0)
    assert isinstance(obs, th.Tensor)
    assert th.equal(obs, info["latent"])
    assert th.equal(obs, dream.latent.feat)
    assert dream.single_observation_space.shape == obs.shape[1:]


@pytest.mark.parametrize("start", ["initial", "replay"])
def test_same_seed_same_dream_bit_for_bit(agent: DreamerV3, start: Any) -> None:
    one, other = (DreamVectorEnv(agent, 4, horizon=5, start=start) for _ in range(2))
    first = rollout(one)
    th.manual_seed(99)  # the global stream does not matter
    assert all(th.equal(a, b) for a, b in zip(first, rollout(other), strict=True))
    assert all(th.equal(a, b) for a, b in zip(first, rollout(one), strict=True))
    assert not all(th.equal(a, b) for a, b in zip(first, rollout(one, seed=4), strict=True))


def test_a_dream_does_not_disturb_the_agent(agent: DreamerV3) -> None:
    buffer = agent.replay_buffer
    assert buffer is not None
    assert agent._generator is not None

    def streams() -> list[Any]:
        return [
            buffer.rng.bit_generator.state,
            len(buffer._online),
            agent._generator.get_state().tolist(),  # type: ignore[union-attr]
            th.get_rng_state().tolist(),
            np.random.get_state()[1].tolist(),  # type: ignore[index]
        ]

    before = streams()
    rollout(DreamVectorEnv(agent, 4, start="replay", sample_reward=True))
    assert streams() == before


def test_episodes_end_at_the_horizon_and_restart_in_the_same_step(agent: DreamerV3) -> None:
    dream = DreamVectorEnv(agent, 3, horizon=4, termination=None)
    dream.reset(seed=0)
    actions = np.full(3, 1)
    for step in range(1, 9):
        obs, _, terminated, truncated, info = dream.step(actions)
        assert isinstance(obs, th.Tensor)
        assert not terminated.any()
        assert truncated.tolist() == [step % 4 == 0] * 3
        if step % 4 == 0:
            assert info["_final_obs"].all()
            assert not th.equal(info["final_obs"], obs)
            decoded = agent.world_model.decode(dream.latent)
            assert isinstance(decoded, th.Tensor)
            assert th.equal(obs, decoded)
            assert set(info["final_info"]) == {"latent", "continue", "entropy", "value"}
            assert not th.equal(info["final_info"]["latent"], info["latent"])
        else:
            assert "final_obs" not in info
    following = dream.step(actions)[0]
    assert isinstance(following, th.Tensor)
    assert isinstance(obs, th.Tensor)
    assert not th.equal(following, obs)


def test_termination_restarts_only_the_rows_that_ended(agent: DreamerV3) -> None:
    dream = DreamVectorEnv(agent, 64, horizon=None)
    dream.reset(seed=1)
    _, _, terminated, truncated, info = dream.step(np.ones(64, int))
    assert 0 < int(terminated.sum()) < 64
    assert not truncated.any()
    assert th.equal(info["_final_obs"], terminated)
    kept = ~terminated
    assert th.equal(info["latent"][kept], info["final_info"]["latent"][kept])
    changed = (info["latent"] != info["final_info"]["latent"]).any(1)
    assert changed[terminated].all()


def test_termination_follows_the_predicted_probability(agent: DreamerV3) -> None:
    dream = DreamVectorEnv(agent, 4_000, horizon=None, observation="latent")
    dream.reset(seed=0)
    _, _, terminated, _, info = dream.step(np.ones(4_000, int))
    expected = 1 - float(info["final_info"]["continue"].mean())
    assert float(terminated.float().mean()) == pytest.approx(expected, abs=0.03)
    cut = float(info["final_info"]["continue"].median())
    dream = DreamVectorEnv(agent, 50, termination=cut)
    dream.reset(seed=0)
    _, _, terminated, _, info = dream.step(np.ones(50, int))
    ending = info.get("final_info", info)["continue"] < cut
    assert th.equal(terminated, ending)


def test_rewards_are_the_mean_or_a_draw(agent: DreamerV3) -> None:
    mean, drawn = (
        DreamVectorEnv(agent, 2_000, sample_reward=s, termination=None, observation="latent")
        for s in (False, True)
    )
    for dream in (mean, drawn):
        dream.reset(seed=0)
    actions = np.ones(2_000, int)
    _, expected, _, _, info = mean.step(actions)
    head = agent.policy.world_model.reward
    with th.no_grad():
        th.testing.assert_close(expected, head.mean(info["latent"]))
    _, reward, *_ = drawn.step(actions)
    assert th.isin(reward, head.twohot.bins).all()
    assert len(reward.unique()) > 3


def test_disabled_autoreset_resets_the_rows_that_are_asked_for(agent: DreamerV3) -> None:
    dream = DreamVectorEnv(agent, 4, horizon=3, autoreset_mode=AutoresetMode.DISABLED)
    assert dream.metadata["autoreset_mode"] == AutoresetMode.DISABLED
    dream.reset(seed=0)
    for _ in range(3):
        _, _, _, truncated, info = dream.step(np.ones(4, int))
        assert "final_obs" not in info
    assert truncated.all()
    before = dream.latent.feat
    rows = th.tensor([True, False, True, False])
    dream.reset(options={"reset_mask": rows})
    same = (dream.latent.feat == before).all(1)
    assert same.tolist() == [False, True, False, True]
    assert dream.step(np.ones(4, int))[3].tolist() == [False, True, False, True]


def test_initial_starts_are_what_the_model_believes_before_it_sees(agent: DreamerV3) -> None:
    dream = DreamVectorEnv(agent, 500)
    dream.reset(seed=0)
    nothing, still = (
        agent.policy.world_model.initial(1),
        th.zeros(1, agent.policy.world_model.action_dim),
    )
    with th.no_grad():
        deter = agent.policy.world_model.imagine_step(nothing, still).deter
        probs = agent.policy.world_model.dynamics.prior(deter)[0]
    th.testing.assert_close(dream.latent.deter, deter.expand(500, -1), atol=1e-5, rtol=1e-5)
    assert (dream.latent.stoch.mean(0) - probs).abs().max() < 0.1


def test_replay_starts_are_posterior_states(agent: DreamerV3) -> None:
    dream = DreamVectorEnv(agent, 30, start="replay")
    dream.reset(seed=0)
    pool = dream._starts.latents.feat  # type: ignore[union-attr]
    difference = (dream.latent.feat[:, None] - pool).abs().amax(-1)
    assert not difference.amin(1).any()
    assert len(dream.latent.feat.unique(dim=0)) > 3


def test_a_context_is_filtered_and_every_reset_returns_to_it(agent: DreamerV3) -> None:
    rng = np.random.default_rng(0)
    obs = rng.normal(size=(3, 5, 3)).clip(-2, 2).astype(np.float32)
    actions = rng.integers(3, size=(3, 4))
    context = {"observations": obs, "actions": actions}
    dream = DreamVectorEnv(agent, 3, horizon=2, termination=None)
    dream.reset(seed=0, options={"context": context})
    begin = dream.latent.feat
    # One observation after the other, with the dream's own random numbers.
    numbers, _ = gym.utils.seeding.np_random(0)
    generator = th.Generator().manual_seed(int(numbers.integers(2**31)))
    codec, state = agent.policy.action_codec, agent.policy.initial_state(3)
    latent, before = state.latent, state.prev_action
    with th.no_grad():
        for t in range(5):
            first = th.full((3,), t == 0)
            shown = th.as_tensor(obs[:, t])
            latent = agent.world_model.observe(latent, before, shown, first, generator)
            if t < 4:
                before = codec.encode(codec.from_env(th.as_tensor(actions[:, t])))
    th.testing.assert_close(begin, latent.feat)
    dream.step(np.ones(3, int))
    dream.step(np.ones(3, int))  # the horizon: back to the context
    assert th.equal(dream.latent.feat, begin)
    dream.reset(options={"context": None})
    assert not th.equal(dream.latent.feat, begin)


def test_a_context_of_one_step_is_the_first_observation(agent: DreamerV3) -> None:
    """With the latent's mode instead of a draw this is exactly what the policy would filter."""
    obs = np.array([[[0.5, -1.0, 2.0]]], np.float32)
    dream = DreamVectorEnv(agent, 4)
    dream.reset(
        seed=0, options={"context": {"observations": obs, "actions": np.zeros((1, 0), int)}}
    )
    start = agent.policy.initial_state(1)
    with th.no_grad():
        latent = agent.world_model.observe(
            start.latent, start.prev_action, th.as_tensor(obs[:, 0]), th.ones(1, dtype=th.bool)
        )
    th.testing.assert_close(dream.latent.deter, latent.deter.expand(4, -1))
    assert len(dream.latent.feat.unique(dim=0)) == 1


@pytest.mark.parametrize("dict_obs", [False, True])
def test_rendering_draws_what_is_dreamed(image_agent: DreamerV3, dict_obs: bool) -> None:
    agent = make_agent(MIXED, DISCRETE, steps=20) if dict_obs else image_agent
    dream = DreamVectorEnv(agent, 2, render_mode="rgb_array", termination=None)
    obs, _ = dream.reset(seed=0)
    frames = dream.render()
    assert frames is not None
    image = obs["image"] if isinstance(obs, dict) else obs
    assert len(frames) == 2
    for frame, shown in zip(frames, image.numpy(), strict=True):
        assert frame.dtype == np.uint8
        np.testing.assert_array_equal(frame, shown.transpose(1, 2, 0))


def test_vectors_are_drawn_as_bars(agent: DreamerV3) -> None:
    dream = DreamVectorEnv(agent, 2, render_mode="rgb_array", termination=None)
    dream.reset(seed=0)
    before = dream.render()
    dream.step(np.ones(2, int))
    after = dream.render()
    assert before is not None
    assert after is not None
    assert before[0].shape == (300, 400, 3)
    assert not np.array_equal(before[0], after[0])
    assert DreamVectorEnv(agent, 2).render() is None


# -------------------------------------------------------------------- one dream


@pytest.mark.parametrize(
    "observation_space", [VECTOR, IMAGE, MIXED], ids=["vector", "image", "dict"]
)
def test_checkers_find_nothing(observation_space: spaces.Space, tmp_path: Path) -> None:
    agent = make_agent(observation_space, BOX, steps=20)
    agent.save(tmp_path / "model")
    env = gym.make(
        "dreamzoo/DreamEnv-v0", model=str(tmp_path / "model.zip"), render_mode="rgb_array"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=".*not.*normalized|.*symmetric.*")  # the toy's
        check_env(env.unwrapped)
        sb3_check_env(DreamEnv(agent, render_mode="rgb_array"))


def test_one_dream_is_the_vector_environment_of_one(agent: DreamerV3) -> None:
    single = DreamEnv(agent, horizon=4, termination=None)
    obs, info = single.reset(seed=7)
    stream = int(np.random.default_rng(np.random.SeedSequence(7)).integers(2**31))
    many = DreamVectorEnv(agent, 1, horizon=4, termination=None)
    expected, expected_info = many.reset(seed=stream)
    np.testing.assert_array_equal(obs, expected[0])  # type: ignore[index]
    np.testing.assert_array_equal(info["latent"], expected_info["latent"][0])
    obs, reward, terminated, truncated, info = single.step(2)
    batch = many.step(np.array([2]))
    np.testing.assert_array_equal(obs, batch[0][0])  # type: ignore[index]
    assert reward == float(batch[1])
    assert isinstance(reward, float)
    assert (terminated, truncated) == (False, False)
    assert np.isscalar(info["value"])


def test_gymnasium_makes_dreams_from_a_file(agent: DreamerV3, tmp_path: Path) -> None:
    path = tmp_path / "agent.zip"
    agent.save(path)
    env = gym.make("dreamzoo/DreamEnv-v0", model=str(path), horizon=3)
    assert env.spec is not None
    again = gym.make(env.spec)
    a, b = env.reset(seed=1)[0], again.reset(seed=1)[0]
    np.testing.assert_array_equal(a, b)
    vector = gym.make_vec("dreamzoo/DreamEnv-v0", num_envs=3, model=str(path))
    assert isinstance(vector.unwrapped, DreamVectorEnv)
    assert vector.reset(seed=0)[0].shape == (3, 3)
    assert DreamEnv(lambda: agent).dream.model is agent
    assert DreamEnv(str(path)[:-4]).dream.model is not agent


def test_gymnasium_tools_work_on_a_dream(
    image_agent: DreamerV3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # SDL's own choice without a screen would shut down EGL for the tests that render after this,
    # and it keeps to what it chose when CartPole was drawn.
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    pygame.quit()
    env = DreamEnv(image_agent, render_mode="rgb_array", horizon=6, termination=None)
    with RecordVideo(env, str(tmp_path), episode_trigger=lambda _: True) as video:
        video.reset(seed=0)
        while not video.step(video.action_space.sample())[3]:
            pass
    assert list(tmp_path.glob("*.mp4"))
    game = PlayableGame(env, {(ord("a"),): 0})
    assert game.video_size == (36, 36)
    pygame.quit()


# -------------------------------------------------------------------- for Stable-Baselines3


def test_sb3_agents_train_inside_a_dream(agent: DreamerV3, image_agent: DreamerV3) -> None:
    model = PPO("MlpPolicy", agent.dream_env(n_envs=8, horizon=6), n_steps=8, batch_size=32)
    model.learn(128)
    evaluate_policy(model, VecMonitor(agent.dream_env(n_envs=2, horizon=5)), n_eval_episodes=4)
    PPO("CnnPolicy", image_agent.dream_env(n_envs=2), n_steps=8, batch_size=16, n_epochs=1).learn(
        16
    )
    DQN("MlpPolicy", agent.dream_env(n_envs=1), learning_starts=10, buffer_size=100).learn(20)
    DreamerV3(
        "MlpPolicy",
        agent.dream_env(n_envs=2, horizon=5),
        policy_kwargs=dict(size="debug"),
        batch_size=2,
        batch_length=8,
        train_ratio=1,
    ).learn(60)


def test_the_policy_of_the_real_environment_runs_unchanged(agent: DreamerV3) -> None:
    """The agent itself, with its memory, evaluated in its own dream."""
    rewards, lengths = evaluate_policy(
        agent, VecMonitor(agent.dream_env(n_envs=2, horizon=6)), 4, return_episode_rewards=True
    )
    assert np.shape(rewards) == (4,)
    assert np.max(lengths) <= 6


def test_vec_env_reports_ends_as_sb3_reads_them(agent: DreamerV3) -> None:
    env = agent.dream_env(n_envs=3, horizon=3, termination=None)
    env.seed(0)
    env.reset()
    for step in range(1, 4):
        obs, _, dones, infos = env.step(np.ones(3, int))
        assert dones.tolist() == [step == 3] * 3
    assert isinstance(obs, np.ndarray)
    for i in range(3):
        assert infos[i]["TimeLimit.truncated"]
        assert not np.array_equal(infos[i]["terminal_observation"], obs[i])
    env = agent.dream_env(n_envs=20)
    env.seed(0)
    env.reset()
    _, _, dones, infos = env.step(np.ones(20, int))
    assert dones.any()
    assert [("terminal_observation" in info) for info in infos] == dones.tolist()
    assert not any(info.get("TimeLimit.truncated") for info in infos)


def test_vec_env_wrappers_and_attributes(agent: DreamerV3) -> None:
    env = agent.dream_env(n_envs=3, horizon=3)
    wrapped: VecEnv = VecNormalize(VecMonitor(env))
    wrapped.seed(0)
    first = wrapped.reset()
    episodes = 0
    for _ in range(6):
        _, _, _, infos = wrapped.step(np.ones(3, int))
        episodes += sum("episode" in info for info in infos)
    assert episodes >= 3
    assert env.get_attr("horizon") == [3] * 3
    env.set_attr("horizon", 5)
    assert env.dream.horizon == 5
    assert env.env_is_wrapped(gym.Wrapper) == [False] * 3
    assert np.asarray(env.get_images()[0]).shape == (300, 400, 3)
    with pytest.raises(ValueError, match="leave indices out"):
        env.set_attr("horizon", 5, indices=[0])
    env.seed(0)
    assert isinstance(first, np.ndarray)
    same = [env.reset(), (env.seed(0), env.reset())[1]]
    np.testing.assert_array_equal(same[0], same[1])


def test_every_step_returns_arrays_of_its_own(agent: DreamerV3) -> None:
    env = agent.dream_env(n_envs=2, horizon=50, termination=None)
    first = env.reset()
    assert isinstance(first, np.ndarray)
    copy = first.copy()
    env.step(np.ones(2, int))
    np.testing.assert_array_equal(first, copy)


# -------------------------------------------------------------------- bad input

Break = Callable[[DreamerV3], Any]

CONTEXT = {"observations": np.zeros((1, 3, 3), np.float32), "actions": np.ones((1, 2), int)}


def _step(dream: DreamVectorEnv, actions: Any) -> None:
    dream.reset(seed=0)
    dream.step(actions)


def _reset(agent: DreamerV3, **options: Any) -> None:
    DreamVectorEnv(agent, 2).reset(seed=0, options=options)


BROKEN: list[tuple[Break, type[Exception], str]] = [
    (lambda a: DreamVectorEnv(a, 0), ValueError, "num_envs=0"),
    (lambda a: DreamVectorEnv(a, horizon=1), ValueError, "horizon=1"),
    (lambda a: DreamVectorEnv(a, observation="pixels"), ValueError, "decoded"),  # type: ignore[arg-type]
    (lambda a: DreamVectorEnv(a, start="here"), ValueError, "replay"),  # type: ignore[arg-type]
    (lambda a: DreamVectorEnv(a, termination=2.0), ValueError, "termination=2.0"),
    (lambda a: DreamVectorEnv(a, render_mode="human"), ValueError, "rgb_array"),
    (
        lambda a: DreamVectorEnv(a, autoreset_mode=AutoresetMode.NEXT_STEP),
        ValueError,
        "SAME_STEP or DISABLED",
    ),
    (lambda a: DreamVectorEnv(3), TypeError, "an agent of dreamzoo"),  # type: ignore[arg-type]
    (lambda a: DreamVectorEnv(a).step(np.ones(1, int)), ResetNeeded, "reset"),
    (lambda a: DreamEnv(a).step(1), ResetNeeded, "reset"),
    (lambda a: _step(DreamVectorEnv(a, 2), np.ones(3, int)), ValueError, "shape"),
    (lambda a: _step(DreamVectorEnv(a, 2), np.array([1, 9])), ValueError, "not all in"),
    (lambda a: _step(DreamVectorEnv(a, 2), th.tensor([1.5, 1.0])), ValueError, "not all in"),
    (lambda a: _reset(a, nonsense=1), ValueError, "nonsense"),
    (lambda a: _reset(a, reset_mask=np.ones(2, int)), ValueError, "bool"),
    (lambda a: _reset(a, reset_mask=np.ones(2, bool)), ResetNeeded, "all dreams once"),
    (lambda a: _reset(a, context={"observations": 0}), ValueError, "keys"),
    (
        lambda a: _reset(a, context=CONTEXT | {"actions": np.ones((1, 3), int)}),
        ValueError,
        "one less than observations",
    ),
    (
        lambda a: _reset(a, context=CONTEXT | {"observations": np.zeros((1, 3, 4))}),
        ValueError,
        "expected .rows, steps",
    ),
    (
        lambda a: _reset(
            a,
            context={"observations": np.zeros((3, 3, 3)), "actions": np.ones((3, 2), int)},
        ),
        ValueError,
        "1 or 2 rows",
    ),
]


@pytest.mark.parametrize(("break_it", "error", "message"), BROKEN)
def test_bad_input_gets_a_clear_error(
    agent: DreamerV3, break_it: Break, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        break_it(agent)


def test_a_step_after_the_end_gets_a_clear_error(agent: DreamerV3) -> None:
    env = DreamEnv(agent, horizon=2, termination=None)
    env.reset(seed=0)
    env.step(1)
    env.step(1)
    with pytest.raises(ResetNeeded, match="call reset"):
        env.step(1)


def test_actions_that_are_not_numbers_are_refused_and_others_clipped(
    image_agent: DreamerV3,
) -> None:
    dream = DreamVectorEnv(image_agent, 1)
    with pytest.raises(ValueError, match="not all in"):
        _step(dream, np.full((1, 2), np.nan, np.float32))
    results = []
    for action in ([[2.0, 5.0]], [[7.0, 99.0]]):
        dream.reset(seed=0)
        dream.step(np.array(action, np.float32))
        results.append(dream.latent.feat)
    assert th.equal(*results)


def test_files_that_hold_no_world_model(agent: DreamerV3, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no file"):
        DreamVectorEnv(tmp_path / "missing.zip")
    (tmp_path / "text.zip").write_text("not a zip")
    with pytest.raises(ValueError, match=r"not a file that agent\.save"):
        DreamVectorEnv(tmp_path / "text.zip")
    PPO("MlpPolicy", "CartPole-v1", n_steps=8, batch_size=8).save(tmp_path / "ppo.zip")
    with pytest.raises(ValueError, match="no world model"):
        DreamVectorEnv(tmp_path / "ppo.zip")


def test_an_empty_replay_cannot_be_a_start(agent: DreamerV3, tmp_path: Path) -> None:
    agent.save(tmp_path / "agent.zip")
    with pytest.raises(ValueError, match="load_replay_buffer"):
        DreamVectorEnv(tmp_path / "agent.zip", start="replay").reset(seed=0)


def test_dream_vec_env_is_what_dream_env_makes(agent: DreamerV3) -> None:
    env = agent.dream_env(n_envs=3, horizon=4)
    assert isinstance(env, DreamVecEnv)
    assert isinstance(env.dream.reset(seed=0)[0], th.Tensor)
    assert isinstance(env.dream.latent, Latent)
