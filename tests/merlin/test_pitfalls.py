"""Mistakes that reimplementations of MERLIN make, and bad input, one test each."""

import dataclasses
import math
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium.wrappers import TimeLimit
from stable_baselines3.common.logger import configure
from stable_baselines3.common.vec_env import DummyVecEnv
from torch import Tensor

from dreamzoo.analysis.callbacks import SeededEvalCallback
from dreamzoo.analysis.evaluation import play_episodes
from dreamzoo.merlin import MERLIN, RLLSTM, RLMEM, SIZES, kl_loss, policy_loss, return_loss
from dreamzoo.merlin.actor import described
from dreamzoo.merlin.merlin import explained_variance
from dreamzoo.nn.beliefs import Gaussian
from dreamzoo.nn.distributions import BoundedNormalActions, CategoricalActions
from dreamzoo.nn.state import leaf_names, leaves, select
from dreamzoo.testing import RandomEnv
from dreamzoo.wrappers import PreviousActionReward, VecPreviousActionReward
from tests.dreamers import ACTIONS, VECTOR
from tests.merlin.agents import SETTINGS, TWO, T, collect, make_agent
from tests.merlin.lives import make_env
from tests.resuming import assert_equal

pytestmark = pytest.mark.filterwarnings("ignore:Episodes have")
DEBUG: dict[str, Any] = {"n_steps": 4, "seed": 0, "device": "cpu"}


def _make(env: Any, kind: type[MERLIN] = MERLIN, **policy: Any) -> MERLIN:
    kwargs = {"size": "debug", **policy}
    return kind("MlpPolicy", env, policy_kwargs=kwargs, **DEBUG)


# ------------------------------------------------------------------ 1: episodes


@pytest.mark.parametrize("rows", [0, 3, 50])
def test_what_came_before_an_episode_is_forgotten_at_its_first_step(rows: int) -> None:
    """Pitfall 1: by both networks and the memory, of those rows alone that begin."""
    agent, windows = collect(rows=rows)
    obs = th.randn(2, 3)
    state, fresh = windows.after, agent.policy.initial_state(2)
    anew = th.tensor([True, False])
    noise = [th.Generator().manual_seed(0) for _ in range(3)]
    after = agent.policy.filter(obs, state, anew, noise[0])
    begun = agent.policy.filter(obs, fresh, th.ones(2, dtype=th.bool), noise[1])
    gone_on = agent.policy.filter(obs, state, th.zeros(2, dtype=th.bool), noise[2])
    parts = zip(leaf_names(after), *map(leaves, (after, begun, gone_on)), strict=True)
    for name, part, first, next_ in parts:
        if name != "prev_action":  # of the step before: nobody looks at it
            assert th.equal(part[0], first[0]), name
        assert th.equal(part[1], next_[1]), name
    assert not th.equal(gone_on.own.context[0], begun.own.context[0])


# ------------------------------------------------------------------ 5: KL


def test_the_kl_term_is_that_of_the_posterior_from_the_prior() -> None:
    """Pitfall 5: direction, and deviations where deviations belong."""
    post, prior = (Gaussian(th.randn(6, 3), th.rand(6, 3) + 0.1) for _ in range(2))
    p, q = (th.distributions.Normal(*x) for x in (prior, post))
    expected = th.distributions.kl_divergence(q, p).sum(-1).mean()
    th.testing.assert_close(kl_loss(post, prior), expected)
    assert not th.isclose(kl_loss(prior, post), expected)
    by_hand = prior.std.log() - post.std.log() - 0.5
    by_hand += (post.std**2 + (post.mean - prior.mean) ** 2) / (2 * prior.std**2)
    th.testing.assert_close(expected, by_hand.sum(-1).mean())


def test_posterior_and_prior_both_learn_from_the_kl_term() -> None:
    parts = [th.rand(4, 3).add(0.1).requires_grad_() for _ in range(4)]
    loss = kl_loss(Gaussian(*parts[:2]), Gaussian(*parts[2:]))
    assert all(gradient.all() for gradient in th.autograd.grad(loss, parts))


# ------------------------------------------------------------------ 6: returns


def test_advantage_learns_what_the_value_leaves_and_the_value_nothing_of_that() -> None:
    value, advantage, returns = (th.randn(2, 5, requires_grad=True) for _ in range(3))
    terms = return_loss(value, advantage, returns.detach())
    n = value.numel()
    (of_value,) = th.autograd.grad(terms["value"], value)
    th.testing.assert_close(of_value, (value - returns).detach() / n)
    of_both = th.autograd.grad(terms["advantage"], [advantage, value], allow_unused=True)
    th.testing.assert_close(of_both[0], (value + advantage - returns).detach() / n)
    assert of_both[1] is None


def test_the_policy_climbs_its_advantages_which_stay_as_they_are() -> None:
    log_prob, entropy, advantages = (th.randn(2, 5, requires_grad=True) for _ in range(3))
    terms = policy_loss(log_prob, entropy, advantages)
    n = log_prob.numel()
    found = th.autograd.grad(terms["policy"], [log_prob, advantages], allow_unused=True)
    th.testing.assert_close(found[0], -advantages.detach() / n)
    assert found[1] is None
    (gradient,) = th.autograd.grad(terms["entropy"], entropy)
    th.testing.assert_close(gradient, th.full_like(entropy, -1.0 / n))


def test_how_much_of_the_returns_is_predicted_is_logged() -> None:
    """Pitfall 6: too small a weight of returns shows nowhere else."""
    truth = th.tensor([[1.0, 2.0], [3.0, 6.0]])
    assert explained_variance(truth, truth) == 1.0
    assert explained_variance(truth.mean().expand(2, 2), truth) == 0.0
    assert explained_variance(-truth, truth) == -3.0
    assert explained_variance(truth, th.ones(2, 2)) == 0.0  # not a division by zero
    agent = make_agent(VECTOR, ACTIONS["discrete"], SETTINGS).learn(2 * T)
    logged = agent.logger.name_to_value
    assert -10.0 < logged["train/explained_variance"] < 1.0
    assert {"train/kl", "train/return", "train/advantage_abs"} <= logged.keys()


def test_the_value_reads_log_probabilities_or_means_and_log_deviations() -> None:
    """Spec 1.6, 1.7: constants, of every action dimension by itself."""
    logits = th.randn(4, 5, requires_grad=True)
    read = described(CategoricalActions(logits, [2, 3], unimix=0.0))
    expected = [part.softmax(-1).log() for part in logits.split([2, 3], -1)]
    th.testing.assert_close(read, th.cat(expected, -1).detach())
    numbers = BoundedNormalActions(logits[:, :2], logits[:, 2:4])
    expected = [numbers.mean, numbers.std.log()]
    th.testing.assert_close(described(numbers), th.cat(expected, -1).detach())
    assert not read.requires_grad
    assert not described(numbers).requires_grad


# ------------------------------------------------------------------ 8: actions and rewards


@pytest.mark.parametrize("observations", [VECTOR, TWO])
def test_rewards_that_an_environment_shows_are_heard_as_in_training(observations: Any) -> None:
    """Pitfall 8: with them ``predict`` knows what ``learn`` knows; without, what it expects."""
    policy: Any = make_agent(observations, ACTIONS["discrete"], SETTINGS).policy
    plans = [[(3, False), (9, False)], [(9, False)]]
    plain = make_env(observations, ACTIONS["discrete"], plans)
    shown = VecPreviousActionReward(make_env(observations, ACTIONS["discrete"], plans))
    memory: Any = None
    obs, starts = plain.reset(), np.ones(2, bool)
    seen: Any = shown.reset()
    state: Any = policy.initial_state(2)
    for _ in range(5):
        first = th.as_tensor(starts)
        expected, state = policy.act(_tensors(obs), state, first, deterministic=True)
        actions, memory = policy.predict(seen, memory, starts, deterministic=True)
        assert (actions == policy.to_env_action(expected.numpy())).all()
        for part, own in zip(memory or (), leaves(state), strict=True):
            np.testing.assert_array_equal(part, own.reshape(part.shape).numpy())
        obs, rewards, starts, _ = plain.step(actions)
        seen, *_ = shown.step(actions)
        state = policy.told(state, th.as_tensor(rewards))
    assert state.latent.told.all()


def _tensors(obs: Any) -> Any:
    if isinstance(obs, dict):
        return {key: th.as_tensor(x) for key, x in obs.items()}
    return th.as_tensor(obs)


@pytest.mark.parametrize("kind", [MERLIN, RLMEM, RLLSTM])
@pytest.mark.parametrize("by", ["playing", "callback"])
def test_evaluations_tell_rewards_as_learning_does(
    kind: Any, by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    env = make_env(VECTOR, ACTIONS["discrete"], [[(3, False), (9, False)] * 5, [(4, False)] * 9])
    agent = kind("MlpPolicy", env, n_steps=4, seed=0, policy_kwargs=dict(size="debug"))
    names, predict, step_wait = agent.policy.memory.names, agent.predict, env.step_wait
    heard, earned = [], []

    def note_what_is_heard(obs: Any, state: Any, **rest: Any) -> Any:
        if state is not None:
            heard.append([state[names.index(name)].ravel() for name in ("reward", "told")])
        return predict(obs, state, **rest)

    def note_what_is_earned() -> Any:
        result = step_wait()
        earned.append(result[1].copy())
        return result

    monkeypatch.setattr(agent, "predict", note_what_is_heard)
    monkeypatch.setattr(env, "step_wait", note_what_is_earned)
    if by == "playing":
        play_episodes(agent, env, 3)
    else:
        agent.set_logger(configure(None, []))
        callback = SeededEvalCallback(env, 0, eval_freq=1, n_eval_episodes=3, warn=False)
        callback.init_callback(agent)
        callback.on_step()
    assert len(heard) > 2
    assert len({tuple(rewards) for rewards in earned}) > 1, "rewards say nothing"
    for (reward, told), rewards in zip(heard, earned, strict=False):
        np.testing.assert_array_equal(reward, rewards.astype(np.float32))
        assert (told == 1.0).all()


def test_a_single_environment_may_show_rewards_too() -> None:
    agent, _ = collect()
    env = PreviousActionReward(make_env(VECTOR, ACTIONS["discrete"], [[(9, False)]]).envs[0])
    action, memory = agent.predict(env.reset()[0], deterministic=True)
    seen: Any = env.step(action)[0]
    other = {**seen, "previous_reward": seen["previous_reward"] + np.float32(1.0)}
    z = agent.policy.memory.names.index("z")
    one, again, two = (
        agent.predict(x, memory, deterministic=True)[1][z] for x in (seen, seen, other)
    )
    assert one.shape == (1, 4)
    np.testing.assert_array_equal(one, again)
    assert (one != two).any()


@pytest.mark.parametrize("rewards", [[np.nan, 0.0], [np.inf, 0.0], [0.0], [0.0, 1.0, 2.0]])
def test_rewards_that_do_not_fit_are_refused_by_their_name(rewards: list[float]) -> None:
    """They become parts of the state, of which the user would know nothing."""
    policy: Any = make_agent(VECTOR, ACTIONS["discrete"], SETTINGS).policy
    env = VecPreviousActionReward(make_env(VECTOR, ACTIONS["discrete"], [[(9, False)]] * 2))
    seen: Any = env.reset()
    memory = policy.predict(seen)[1]
    with pytest.raises(ValueError, match=r"^Previous_reward (with NaN|of \d rows)"):
        policy.predict({**seen, "previous_reward": np.array(rewards)[:, None]}, memory)


def test_without_a_reward_the_expected_one_is_believed() -> None:
    agent, windows = collect()
    model, state = agent.world_model, windows.after.latent
    action, obs, nowhere = th.eye(3)[:2], th.randn(2, 3), th.zeros(2, dtype=th.bool)
    _, prior = model.dynamics.expect(state, action)
    reward = model.reward.mean(prior.mean)

    def next_z(told: float, reward: Tensor) -> Tensor:
        before = state._replace(told=th.full((2,), told), reward=reward)
        return model.observe(before, action, obs, nowhere, mode=True).z

    silent, expected = next_z(0.0, th.full((2,), 7.0)), next_z(1.0, reward)
    th.testing.assert_close(silent, expected)
    assert (silent != next_z(1.0, th.full((2,), 7.0))).any(-1).all()


def test_what_led_to_a_step_is_part_of_what_is_seen() -> None:
    """Pitfall 8: the position of a card is known through the action alone."""
    agent, windows = collect()
    window = windows.kept[1]
    path = agent.policy.unroll(window)
    goes_on = (~window.is_first).clone()
    goes_on[:, 0] = False  # what came before the window is in what it starts with
    here = goes_on.nonzero()[0]
    before = int(here[0]), int(here[1]) - 1
    actions, rewards = window.actions.clone(), window.rewards.clone()
    actions[before] = (actions[before] + 1) % 3
    rewards[before] += 1.0
    n, t = here.tolist()
    for changed in (window._replace(actions=actions), window._replace(rewards=rewards)):
        other = agent.policy.unroll(changed)
        assert (other.z[n, t] != path.z[n, t]).any()
        assert th.equal(other.z[n, :t], path.z[n, :t])


# ------------------------------------------------------------------ sizes, bad input


def test_the_paper_has_sizes_of_its_own() -> None:
    agent = MERLIN(
        "MlpPolicy", make_env(VECTOR, ACTIONS["discrete"]), policy_kwargs={"size": "paper"}
    )
    dynamics, actor = agent.policy.world_model.dynamics, agent.policy.actor
    assert dynamics.memory is not None
    assert (dynamics.memory.rows, dynamics.memory.row_width, dynamics.stoch) == (1350, 400, 200)
    assert (dynamics.reader.read_dim, actor.reader.read_dim) == (1200, 400)
    assert dynamics.reader.lstm.out_dim == actor.reader.lstm.out_dim == 512
    assert dynamics.prior[0].in_features == 1712
    assert dynamics.reader.lstm.cells[0].input_size == 200 + 3 + 1200
    assert dynamics.reader.heads.keys.out_features == 1203  # type: ignore[union-attr]
    assert actor.reader.heads.keys.out_features == 401  # type: ignore[union-attr]


def test_the_defaults_are_those_of_the_paper() -> None:
    agent = _make(make_env(VECTOR, ACTIONS["discrete"]))
    assert (agent.gamma, agent.gae_lambda, agent.ent_coef) == (0.96, 0.9, 0.01)
    assert agent.policy.world_model.dynamics.memory.retro_gamma == 0.96  # type: ignore[union-attr]
    assert {type(x) for x in agent.policy.optimizers.values()} == {th.optim.Adam}
    assert {x.defaults["eps"] for x in agent.policy.optimizers.values()} == {1e-6}
    other = MERLIN("MlpPolicy", agent.env, gamma=0.8, policy_kwargs={"size": "debug"})
    assert other.policy.world_model.dynamics.memory.retro_gamma == 0.8  # type: ignore[union-attr]


def test_a_discount_of_one_is_another_one_for_the_memory() -> None:
    """Pitfall 4: rows would gather nothing."""
    env = make_env(VECTOR, ACTIONS["discrete"])
    for gamma, gathered in ((1.0, 0.99), (0.9, 0.9), (0.0, 0.0)):
        agent = MERLIN("MlpPolicy", env, gamma=gamma, policy_kwargs={"size": "debug"})
        memory = agent.policy.external_memory
        assert memory is not None
        assert memory.retro_gamma == gathered
    with pytest.raises(ValueError, match=r"retro_gamma=1\.0 must be at least 0 and below 1"):
        MERLIN("MlpPolicy", env, policy_kwargs={"size": "debug", "retro_gamma": 1.0})


@pytest.mark.parametrize("kind", [MERLIN, RLMEM])
def test_episodes_that_do_not_fit_into_the_memory_are_spoken_of_once(
    kind: type[MERLIN], recwarn: pytest.WarningsRecorder
) -> None:
    """Pitfall 3: the episode whose last step fills the last row does fit."""

    def speak(length: int, rows: int) -> int:
        recwarn.clear()
        agent = _make(DummyVecEnv([lambda: RandomEnv(length=length)] * 2), kind, rows=rows)
        agent.learn(2 * 4 * 4).learn(2 * 4, reset_num_timesteps=False)
        said = [str(w.message) for w in recwarn if "Episodes have" in str(w.message)]
        assert all(f"the memory has {rows} rows" in text for text in said)
        assert all("dict(rows=...), as many as the longest episode" in text for text in said)
        return len(said)

    assert speak(8, 8) == 0
    assert speak(50, 3) == 1
    assert speak(50, 0) == 0


def test_a_time_limit_beyond_the_memory_is_spoken_of_before_the_first_step() -> None:
    env = gym.make("CartPole-v1", max_episode_steps=30)
    assert isinstance(env, TimeLimit)
    agent = _make(env, rows=29)
    with pytest.warns(UserWarning, match=r"Episodes may have 30 steps, and .* has 29 rows"):
        agent.learn(0)


class _Broken(RandomEnv):
    """Shows NaN in the third step."""

    def step(self, action: Any) -> Any:
        obs, *rest = super().step(action)
        return (obs * math.nan if len(self.actions) == 3 else obs), *rest


def test_observations_that_are_no_numbers_are_refused_and_change_nothing() -> None:
    agent = _make(DummyVecEnv([_Broken] * 2))
    before = {k: v.clone() for k, v in agent.policy.state_dict().items()}
    with pytest.raises(ValueError, match=r"observation.*the model is as it was"):
        agent.learn(100)
    for name, value in agent.policy.state_dict().items():
        assert th.equal(value, before[name]), name


def test_a_file_of_another_size_is_refused(tmp_path: Path) -> None:
    path = str(tmp_path / "model")
    small = _make(make_env(VECTOR, ACTIONS["discrete"]))
    small.save(path)
    with pytest.raises(ValueError, match="policy kwargs"):
        MERLIN.load(path, policy_kwargs={"size": "paper"}, device="cpu")
    large = _make(make_env(VECTOR, ACTIONS["discrete"]), size="small")
    with pytest.raises(ValueError, match=r"cannot be read, its policy\."):
        large.set_parameters(path, device="cpu")
    with pytest.raises(ValueError, match=r"Unknown size 'huge'.*debug, paper, small"):
        _make(make_env(VECTOR, ACTIONS["discrete"]), size="huge")


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        (dict(heads=0), "heads=0 must be at least 1"),
        (dict(policy_heads=0), "policy_heads=0 must be at least 1"),
        (dict(layers=0), "layers=0 must be between 1 and 100"),
        (dict(units=6.0), "units=6.0 must be at least 1, a whole number"),
        (dict(rows=-1), "rows=-1 must be at least 0"),
        (dict(widths=5), "widths=5 must be a list"),
        (dict(image_net="resnet"), "image_net='resnet' must be one of 'residual' or 'plain'"),
    ],
)
def test_a_size_of_ones_own_makes_sense(setting: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=f"Size: {said}"):
        dataclasses.replace(SIZES["small"], **setting)


def test_rows_may_be_fewer_in_another_agent_of_the_same_weights(tmp_path: Path) -> None:
    """Nothing that is learned depends on their number."""
    agent, _ = collect(rows=3)
    more = make_agent(VECTOR, ACTIONS["discrete"], SETTINGS, rows=7)
    more.policy.load_state_dict(agent.policy.state_dict())
    obs = np.zeros((2, 3), np.float32)
    state = other = None
    for _ in range(3):
        one, state = agent.predict(obs, state, deterministic=True)
        two, other = more.predict(obs, other, deterministic=True)
        assert (one == two).all()


def test_a_dream_goes_on_from_what_is_remembered() -> None:
    """The paper's predictor dreams, too: of a state that no reset has to follow."""
    agent, windows = collect()
    model, latent = agent.world_model, windows.after.latent
    after = model.dynamics.imagine_step(latent, th.eye(3)[:2])
    reward, cont = model.predict(after)
    assert th.isfinite(reward).all()
    assert ((cont > 0) & (cont < 1)).all()
    assert (after.rows.written == latent.rows.written + 1).all()
    alone = model.dynamics.imagine_step(select(latent, [0]), th.eye(3)[:1], mode=True)
    both = model.dynamics.imagine_step(latent, th.eye(3)[:2], mode=True)
    th.testing.assert_close(alone.z[0], both.z[0])


@pytest.mark.filterwarnings("ignore:Episodes may have")
@pytest.mark.parametrize("kind", [MERLIN, RLMEM])
def test_a_trained_agent_is_loaded_with_more_rows_and_with_other_widths_not(
    kind: Any, tmp_path: Path
) -> None:
    model = kind("MlpPolicy", "CartPole-v1", policy_kwargs=dict(size="debug", rows=8), n_steps=4)
    model.learn(8).save(tmp_path / "agent")
    more = kind.load(tmp_path / "agent", policy_kwargs=dict(size="debug", rows=30))
    assert more.policy.external_memory.rows == 30
    assert_equal(more.policy.state_dict(), model.policy.state_dict())
    obs, state, begins = np.zeros((1, 4), np.float32), None, None
    for _ in range(20):
        _, state = more.predict(obs, state, begins)
        begins = [False]
    more.save(tmp_path / "more")
    assert kind.load(tmp_path / "more").policy.external_memory.rows == 30
    for other, said in (
        (dict(size="debug", rows=0), "agent"),
        (dict(size="small", rows=8), "are not those of the networks"),
    ):
        with pytest.raises(ValueError, match=said):
            kind.load(tmp_path / "agent", policy_kwargs=other)
