"""Gymnasium's vector environments under Stable-Baselines3."""

from typing import Any

import ale_py
import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv, VectorEnv
from gymnasium.vector.utils import batch_space
from gymnasium.wrappers.vector import RecordEpisodeStatistics
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor

from dreamzoo import DreamerV3
from dreamzoo.envs import VectorEnvToVecEnv

SAME, DISABLED = AutoresetMode.SAME_STEP, AutoresetMode.DISABLED


class TorchCounters(VectorEnv):
    """Rows that count their steps in torch and end after row + 2 of them; odd rows by a limit."""

    def __init__(self, n: int = 3, mode: AutoresetMode = SAME) -> None:
        self.num_envs = n
        self.metadata = {"autoreset_mode": mode}
        self.single_observation_space = spaces.Dict(
            {"age": spaces.Box(0, 100, (1,), np.float32), "row": spaces.Discrete(n)}
        )
        self.single_action_space = spaces.Discrete(2)
        self.observation_space = batch_space(self.single_observation_space, n)
        self.action_space = batch_space(self.single_action_space, n)
        self.same_step = mode == SAME
        self.age = th.zeros(n)

    def observe(self) -> dict[str, th.Tensor]:
        return {"age": self.age[:, None].clone(), "row": th.arange(self.num_envs)}

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> Any:
        mask = th.as_tensor((options or {}).get("reset_mask", np.ones(self.num_envs, bool)))
        self.age = th.where(mask, th.zeros_like(self.age), self.age)
        return self.observe(), {}

    def step(self, actions: Any) -> Any:
        self.age = self.age + 1
        done = self.age >= th.arange(self.num_envs) + 2
        odd = th.arange(self.num_envs) % 2 == 1
        info: dict[str, Any] = {"age": self.age.clone()}
        if self.same_step:
            info = {"final_obs": self.observe(), "_final_obs": done, "final_info": dict(info)}
            self.age = th.where(done, th.zeros_like(self.age), self.age)
        return self.observe(), th.ones(self.num_envs), done & ~odd, done & odd, info


@pytest.mark.parametrize("mode", [SAME, DISABLED])
def test_ends_and_starts_arrive_together(mode: AutoresetMode) -> None:
    env = VectorEnvToVecEnv(TorchCounters(3, mode))
    assert env.reset()["age"].tolist() == [[0]] * 3
    ages = []
    for step in range(1, 7):
        obs, reward, dones, infos = env.step(np.zeros(3, int))
        assert isinstance(obs, dict)
        assert (reward.dtype, dones.dtype) == (np.float32, bool)
        expected = [step % (row + 2) == 0 for row in range(3)]
        assert dones.tolist() == expected
        ages.append(obs["age"][:, 0].tolist())
        for row, info in enumerate(infos):
            if dones[row]:
                assert info["terminal_observation"]["age"].tolist() == [row + 2]
                assert info["TimeLimit.truncated"] is (row == 1)
                assert info["age"] == row + 2
            else:
                assert "terminal_observation" not in info
    assert ages == [[t % (row + 2) for row in range(3)] for t in range(1, 7)]


class TellsGoals(gym.Wrapper):
    """Tells the goal of an episode when it begins, and other things later."""

    episode = 0

    def reset(self, **kwargs: Any) -> Any:
        obs, _ = super().reset(**kwargs)
        self.episode += 1
        return obs, {"number": self.episode, "goal": {"of": self.episode, "at": obs}}

    def step(self, action: Any) -> Any:
        obs, reward, terminated, truncated, _ = super().step(action)
        info = {"number": self.episode, "place": obs} | ({"fell": True} if terminated else {})
        return obs, reward, terminated, truncated, info


@pytest.mark.parametrize("mode", [SAME, DISABLED])
def test_equals_a_dummy_vec_env_of_the_same_environments(mode: AutoresetMode) -> None:
    """CartPole, 3 rows, 200 steps: everything that SB3 sees is the same to the bit."""

    def make() -> gym.Env:
        return TellsGoals(gym.make("CartPole-v1", max_episode_steps=30))

    ours = VectorEnvToVecEnv(SyncVectorEnv([make] * 3, autoreset_mode=mode))
    theirs = DummyVecEnv([make] * 3)
    for env in (ours, theirs):
        env.seed(7)
        env.action_space.seed(0)
    np.testing.assert_array_equal(ours.reset(), theirs.reset())
    rng = np.random.default_rng(0)
    for _ in range(200):
        actions = rng.integers(2, size=3)
        one, other = ours.step(actions), theirs.step(actions)
        for a, b in zip(one[:3], other[:3], strict=True):
            np.testing.assert_array_equal(a, b)
        for a, b in zip(one[3], other[3], strict=True):
            np.testing.assert_equal({"TimeLimit.truncated": False} | a, b)
        np.testing.assert_equal(ours.reset_infos, theirs.reset_infos)


def test_atari_vector_environment_trains_sb3_and_our_agents() -> None:
    gym.register_envs(ale_py)
    env = gym.make_vec("ALE/Pong-v5", 2, autoreset_mode=SAME, img_height=64, img_width=64)
    vec = VecMonitor(VectorEnvToVecEnv(env))
    vec.seed(0)
    PPO("CnnPolicy", vec, n_steps=4, batch_size=8, n_epochs=1).learn(8)
    DreamerV3(
        "CnnPolicy",
        vec,
        policy_kwargs=dict(size="debug"),
        batch_size=2,
        batch_length=4,
        train_ratio=1,
    ).learn(20)


def test_next_step_resets_are_refused_with_the_remedy() -> None:
    env = gym.make_vec("CartPole-v1", 2, vectorization_mode="sync")
    with pytest.raises(ValueError, match=r"autoreset_mode=AutoresetMode\.SAME_STEP"):
        VectorEnvToVecEnv(env)


def test_rows_of_a_batch() -> None:
    """Arrays belong to the rows; everything else is one for all of them."""
    env = VectorEnvToVecEnv(RecordEpisodeStatistics(TorchCounters(3)))
    env.reset()
    assert env.get_attr("same_step") == [True] * 3
    env.set_attr("same_step", False)
    assert env.get_attr("same_step", 1) == [False]
    for refused in (
        lambda: env.env_method("observe", indices=0),
        lambda: env.set_attr("same_step", True, [0, 2]),
        lambda: env.set_attr("unheard_of", True, 1),
    ):
        with pytest.raises(ValueError, match="one batch"):
            refused()
    assert env.get_attr("same_step", 0) == [False]
    with pytest.raises(AttributeError, match="unheard_of"):
        env.get_attr("unheard_of")
    env.set_attr("age", 5, [0, -1])
    assert env.get_attr("age", [1, 2]) == [0, 5]
    env.set_attr("age", 7.0)
    assert env.env.unwrapped.age.tolist() == [7.0] * 3  # type: ignore[attr-defined]
    env.set_attr("age", th.tensor([1.0, 2.0, 3.0]))
    assert [row["age"].tolist() for row in env.env_method("observe")] == [[1.0], [2.0], [3.0]]
    env.set_attr("counts", np.arange(3))
    env.set_attr("counts", 0.5, 1)
    assert env.get_attr("counts") == [0, 0.5, 2]  # not cut off to an integer
    assert env.env_is_wrapped(gym.Wrapper) == [False] * 3


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_rows_that_are_environments(kind: str) -> None:
    makers = [lambda: gym.make("CartPole-v1")] * 3
    make: Any = SyncVectorEnv if kind == "sync" else AsyncVectorEnv
    more = {} if kind == "sync" else {"context": "forkserver"}
    env = VectorEnvToVecEnv(make(makers, autoreset_mode=SAME, **more))
    env.reset()
    assert env.get_attr("gravity", [0, 2]) == [9.8, 9.8]
    env.set_attr("gravity", 1.6, [1])
    env.set_attr("length", 2.0)
    assert env.get_attr("gravity") == [9.8, 1.6, 9.8]
    assert env.get_attr("length") == [2.0] * 3
    assert env.get_attr("num_envs", 0) == [3]  # of the batch: rows have none
    assert env.env_method("has_wrapper_attr", "gravity") == [True] * 3
    for missing in (env.get_attr, env.env_method):
        with pytest.raises(AttributeError, match="unheard_of"):
            missing("unheard_of")
    if kind == "sync":
        assert env.env_method("has_wrapper_attr", "nothing", indices=[2]) == [False]
        assert env.env_is_wrapped(gym.wrappers.OrderEnforcing, [0, 1]) == [True] * 2
    else:
        with pytest.raises(ValueError, match="leave indices out"):
            env.env_method("has_wrapper_attr", "gravity", indices=[2])
    env.step(np.zeros(3, int))  # nothing is broken
    env.close()


def test_options_of_rows_that_differ_are_refused() -> None:
    cartpoles = SyncVectorEnv([lambda: gym.make("CartPole-v1")] * 2, autoreset_mode=SAME)
    env = VectorEnvToVecEnv(cartpoles)
    env.set_options([{"low": -0.01, "high": 0.01}, {"low": -0.01, "high": 0.01}])
    with pytest.raises(ValueError, match="the same for each of the 2 environments"):
        env.set_options([{"low": -0.01}, {"low": -0.02}])
    for wrong in (5, [None, None], "low"):
        with pytest.raises(ValueError, match="expected one dictionary, or a list of one for each"):
            env.set_options(wrong)  # type: ignore[arg-type]
    first, second = env.reset(), env.reset()
    assert isinstance(first, np.ndarray)
    assert isinstance(second, np.ndarray)
    assert np.abs(first).max() <= 0.01 < np.abs(second).max()  # they are for one reset


class SharedMemory(TorchCounters):
    """Writes every observation to the same memory, as batched simulators do."""

    def __init__(self, mode: AutoresetMode) -> None:
        super().__init__(2, mode)
        self.single_observation_space = spaces.Box(0, 100, (1,), np.float32)
        self.memory = th.zeros(2, 1)

    def observe(self) -> Any:
        self.memory[:, 0] = self.age
        return self.memory


@pytest.mark.parametrize("mode", [SAME, DISABLED])
def test_observations_do_not_change_with_the_next_step(mode: AutoresetMode) -> None:
    env = VectorEnvToVecEnv(SharedMemory(mode))
    seen: list[Any] = [env.reset()]
    last = []
    for _ in range(3):
        obs, _, dones, infos = env.step(np.zeros(2, int))
        seen.append(obs)
        last += [float(infos[i]["terminal_observation"][0]) for i in np.flatnonzero(dones)]
    assert [float(obs[1, 0]) for obs in seen] == [0, 1, 2, 0]
    if mode == DISABLED:
        assert last == [2, 3]


class Talkative(TorchCounters):
    def step(self, actions: Any) -> Any:
        *rest, info = super().step(actions)
        info |= {"time": 0.5, "none": None, "name": "abc", "tensor": th.tensor(2.0), "one": [1]}
        info |= {"ragged": [np.ones(i) for i in range(3)], "tensors": [th.ones(2)] * 3}
        return *rest, info


@pytest.mark.parametrize("mode", [SAME, DISABLED])
def test_infos_that_are_not_arrays_belong_to_every_row(mode: AutoresetMode) -> None:
    env = VectorEnvToVecEnv(Talkative(3, mode))
    env.reset()
    for _ in range(3):
        _, _, _, infos = env.step(np.zeros(3, int))
        for info in infos:
            assert (info["time"], info["none"], info["name"]) == (0.5, None, "abc")
            assert info["tensor"] == 2.0
            assert info["one"] == [1]
            assert isinstance(info["tensors"], np.ndarray)
        assert [info["ragged"].size for info in infos] == [0, 1, 2]


@pytest.mark.parametrize("key", ["episode", "stats"])
def test_the_returns_that_gymnasium_records_arrive(key: str) -> None:
    """Its wrappers put them beside the information on the last step, not into it."""
    cartpoles = SyncVectorEnv([lambda: gym.make("CartPole-v1")] * 3, autoreset_mode=SAME)
    env = VectorEnvToVecEnv(RecordEpisodeStatistics(cartpoles, stats_key=key))
    env.seed(0)
    env.reset()
    lengths, ended = np.zeros(3, int), 0
    for _ in range(60):
        _, _, dones, infos = env.step(np.zeros(3, int))
        lengths += 1
        for i in np.flatnonzero(dones):
            assert infos[i][key]["r"] == lengths[i]
            assert key not in env.reset_infos[i]
            lengths[i], ended = 0, ended + 1
    assert ended > 3


class Numbers(TorchCounters):
    """Tells flags and rewards in other types, and writes the flags to the same memory."""

    def __init__(self, flags: th.dtype, column: bool, mode: AutoresetMode) -> None:
        super().__init__(3, mode)
        self.flags, self.column = th.zeros(2, 3, dtype=flags), column

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> Any:
        self.flags.zero_()
        return super().reset(seed=seed, options=options)

    def step(self, actions: Any) -> Any:
        obs, reward, *ends, info = super().step(actions)
        for memory, end in zip(self.flags, ends, strict=True):
            memory.copy_(end)
        shape = (3, 1) if self.column else (3,)
        return obs, reward.double().view(shape), *(x.view(shape) for x in self.flags), info


@pytest.mark.parametrize("mode", [SAME, DISABLED])
@pytest.mark.parametrize("flags", [th.bool, th.int64, th.uint8, th.float32, th.bfloat16])
def test_flags_and_rewards_in_numbers_and_columns(flags: th.dtype, mode: AutoresetMode) -> None:
    ours = VectorEnvToVecEnv(Numbers(flags, flags != th.int64, mode))
    usual = VectorEnvToVecEnv(TorchCounters(3, mode))
    for env in (ours, usual):
        env.reset()
    for _ in range(7):
        one, other = (env.step(np.zeros(3, int)) for env in (ours, usual))
        np.testing.assert_equal(one, other)
        assert (one[1].dtype, one[2].dtype) == (np.float32, bool)


@pytest.mark.parametrize("value", [2.0, float("nan")])
def test_flags_that_are_none_are_refused(value: float) -> None:
    env = Numbers(th.float32, False, SAME)
    vec = VectorEnvToVecEnv(env)
    vec.reset()
    env.step = lambda actions: (None, None, th.full((3,), value), th.zeros(3), {})  # type: ignore[method-assign]
    with pytest.raises(ValueError, match="erminations that are no flags"):
        vec.step(np.zeros(3, int))


@pytest.mark.parametrize("form", ["none", "mask", "rows"])
def test_ends_without_their_last_observation_are_refused(form: str) -> None:
    class Forgetful(TorchCounters):
        def step(self, actions: Any) -> Any:
            *rest, info = super().step(actions)
            if form == "none":
                info.pop("final_obs")
            elif form == "mask":
                info["_final_obs"] = info["_final_obs"] & (th.arange(3) != 1)
            else:
                final = [{"age": x} if i != 1 else None for i, x in enumerate(self.age)]
                info = {"final_obs": np.array(final, object)}
            return *rest, info

    env = VectorEnvToVecEnv(Forgetful(3, SAME))
    env.reset()
    env.step(np.zeros(3, int))
    if form != "none":  # the end of row 0 is told
        assert env.step(np.zeros(3, int))[2].tolist() == [True, False, False]
    rows = r"\[0\]" if form == "none" else r"\[1\]"
    with pytest.raises(ValueError, match=rf"rows {rows} ended.*info\['final_obs'\].*DISABLED"):
        env.step(np.zeros(3, int))
