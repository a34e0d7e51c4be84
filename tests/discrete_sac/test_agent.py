"""The agent: what it stores, what its critics learn, what moves what, and what it refuses."""

import math
import pickle
import warnings
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.buffers import NStepReplayBuffer, ReplayBuffer
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.logger import configure
from stable_baselines3.common.type_aliases import ReplayBufferSamples
from stable_baselines3.sac.policies import SACPolicy

from dreamzoo import DiscreteSAC
from dreamzoo.testing import CHECKS, Case, RandomEnv
from tests import second_device

VECTOR = spaces.Box(-1.0, 1.0, (3,), np.float32)
ESTIMATORS = ["gumbel", "st_gumbel", "st", "score", "exact"]
#: Spaces whose first action is not 0.
SHIFTED = [spaces.Discrete(3, start=5), spaces.MultiDiscrete([3, 2], start=[1, -4])]


class Counting(gym.Env):
    """Rewards every step with the number of its action; a time limit ends every other episode."""

    def __init__(self, action_space: spaces.Space, length: int = 4) -> None:
        self.observation_space, self.action_space = VECTOR, action_space
        self.length, self.episodes = length, 0

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> Any:
        super().reset(seed=seed)
        self.age, self.episodes = 0, self.episodes + 1
        return np.zeros(3, np.float32), {}

    def step(self, action: Any) -> Any:
        assert self.action_space.contains(action), action
        self.age += 1
        seen = np.full(3, self.age / self.length, np.float32)
        ends = self.age == self.length
        limit = self.episodes % 2 == 0
        return seen, float(np.sum(action)), ends and not limit, ends and limit, {}


def make(action_space: spaces.Space | None = None, **settings: Any) -> DiscreteSAC:
    env = Counting(action_space or spaces.Discrete(3))
    given: Any = {**DiscreteSAC.smallest, "seed": 0, "device": "cpu", **settings}
    return DiscreteSAC("MlpPolicy", env, **given)


def batch_of(agent: DiscreteSAC, n: int = 6) -> ReplayBufferSamples:
    agent.learn(30)
    return agent.replay_buffer.sample(n)


def numbers(agent: DiscreteSAC) -> dict[str, th.Tensor]:
    return {name: value.clone() for name, value in agent.policy.state_dict().items()}


def moved(before: dict[str, th.Tensor], after: dict[str, th.Tensor]) -> set[str]:
    """Name the networks whose parameters differ."""
    return {name.split(".")[0] for name in before if not th.equal(before[name], after[name])}


# ------------------------------------------------------------------ the critics' targets


@th.no_grad()
def slow_target(agent: DiscreteSAC, batch: ReplayBufferSamples, row: int) -> float:
    """r + gamma (1 - end) (sum of all actions' pi Q + alpha H), one number after the other."""
    obs = batch.next_observations[row : row + 1]
    logits = agent.actor.logits(agent.actor.latent_pi(obs))[0].tolist()
    weights = [math.exp(x) for x in logits]
    probs = [w / sum(weights) for w in weights]
    value = 0.0
    for action, p in enumerate(probs):
        one_hot = th.zeros(1, len(probs))
        one_hot[0, action] = 1.0
        lowest = min(float(q) for q in agent.critic_target(obs, one_hot))
        bonus = agent.ent_coef * -math.log(p) if agent.backup_entropy else 0.0  # type: ignore[operator]
        value += p * (lowest + bonus)
    ends = float(batch.dones[row])
    return float(batch.rewards[row]) + agent.gamma * (1.0 - ends) * value


@th.no_grad()
def slow_loss(agent: DiscreteSAC, batch: ReplayBufferSamples) -> float:
    """Half of the squared distance to that target, over both critics, on average over rows."""
    total = 0.0
    for row in range(len(batch.rewards)):
        one_hot = th.zeros(1, 3)
        one_hot[0, int(batch.actions[row])] = 1.0
        target = slow_target(agent, batch, row)
        for q in agent.critic(batch.observations[row : row + 1], one_hot):
            total += 0.5 * (float(q) - target) ** 2
    return total / len(batch.rewards)


def critic_loss(agent: DiscreteSAC, batch: ReplayBufferSamples) -> float:
    """The same by the agent, which is updated."""
    return float(agent.update(batch)["critic_loss"].detach())


@th.no_grad()
def spread(agent: DiscreteSAC) -> None:
    """Let networks differ that have been alike since they were made, and choices matter."""
    generator = th.Generator().manual_seed(1)
    for parameter in agent.policy.parameters():
        parameter.add_(th.randn(parameter.shape, generator=generator))


@pytest.mark.parametrize("backup_entropy", [True, False])
def test_critics_learn_the_sum_over_next_actions(backup_entropy: bool) -> None:
    agent = make(expected_backup=True, ent_coef=0.3, backup_entropy=backup_entropy)
    batch = batch_of(agent)
    assert 0.0 < float(batch.dones.mean()) < 1.0
    spread(agent)
    expected = slow_loss(agent, batch)
    assert math.isclose(critic_loss(agent, batch), expected, rel_tol=1e-5)


def test_a_drawn_next_action_is_right_on_average() -> None:
    agent = make(ent_coef=0.3, learning_rate=0.0, tau=0.0)
    agent.learn(30)
    spread(agent)
    one = agent.replay_buffer.sample(1)
    while float(one.dones):  # one that goes on
        one = agent.replay_buffer.sample(1)
    with th.no_grad():
        q_values = [
            float(q) for q in agent.critic(one.observations, th.eye(3)[one.actions.flatten()])
        ]
    # Of (q - y)^2 the mean over draws tells that of y: two critics see the same y.
    n = 4_000
    rows: Any = [None if x is None else x.expand(n, *x.shape[1:]) for x in one]
    found = critic_loss(agent, ReplayBufferSamples(*rows))
    target, values = slow_target(agent, one, 0), []
    with th.no_grad():
        probs = agent.actor.beliefs(one.next_observations)[0].probs.flatten()
        bonus = agent.ent_coef * -(probs * probs.log()).sum()
        for action in range(3):
            lowest = min(
                float(q) for q in agent.critic_target(one.next_observations, th.eye(3)[[action]])
            )
            values.append(float(one.rewards) + agent.gamma * (lowest + float(bonus)))
    mean = sum(p * y for p, y in zip(probs.tolist(), values, strict=True))
    assert math.isclose(mean, target, rel_tol=1e-4)
    losses = [sum(0.5 * (q - y) ** 2 for q in q_values) for y in values]
    expected = sum(p * x for p, x in zip(probs.tolist(), losses, strict=True))
    squares = sum(p * x * x for p, x in zip(probs.tolist(), losses, strict=True))
    assert abs(found - expected) < 4.0 * math.sqrt(max(squares - expected**2, 0.0) / n) + 1e-4


def test_n_steps_discount_what_follows_by_their_number() -> None:
    agent = make(expected_backup=True, ent_coef=0.3, n_steps=3)
    batch = batch_of(agent, 20)
    assert batch.discounts is not None
    assert len(batch.discounts.unique()) > 1
    spread(agent)
    total = 0.0
    for row in range(20):
        agent.gamma = float(batch.discounts[row])
        one: Any = [None if x is None else x[row : row + 1] for x in batch]
        total += slow_loss(agent, ReplayBufferSamples(*one))
    assert math.isclose(critic_loss(agent, batch), total / 20, rel_tol=1e-5)


def test_a_loaded_agent_counts_on_its_steps_without_a_warning(tmp_path: Path) -> None:
    """Its file names the replay that SB3 chose, which SB3 then takes for a user's choice."""
    make(n_steps=3).save(tmp_path / "agent")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        agent = DiscreteSAC.load(tmp_path / "agent", env=Counting(spaces.Discrete(3)))
    assert isinstance(agent.replay_buffer, NStepReplayBuffer)
    assert agent.replay_buffer.n_steps == 3
    with pytest.warns(UserWarning, match="`n_steps=3` is ignored"):
        make(n_steps=3, replay_buffer_class=ReplayBuffer)


# ------------------------------------------------------------------ what moves what


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_the_actors_loss_moves_the_actor_alone(estimator: Any) -> None:
    """Critics whose rate is zero stand still, whatever the actor's gradient passes through."""
    agent = make(estimator=estimator)
    batch = batch_of(agent)
    agent.tau = 0.0
    agent.critic.optimizer.param_groups[0]["lr"] = 0.0
    before, step = numbers(agent), agent.critic.optimizer.step
    seen: list[th.Tensor] = []

    def watch(*_: Any) -> None:
        seen.extend(p.grad.clone() for p in agent.critic.parameters() if p.grad is not None)
        step()

    agent.critic.optimizer.step = watch  # type: ignore[assignment]
    agent.update(batch)
    assert moved(before, numbers(agent)) == {"actor"}
    assert seen
    for parameter, grad in zip(agent.critic.parameters(), seen, strict=True):
        assert th.equal(parameter.grad, grad)  # type: ignore[arg-type]


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_critics_are_shown_whole_actions_by_all_estimators_but_one(estimator: Any) -> None:
    agent = make(estimator=estimator)
    batch, lowest = batch_of(agent), agent.critic.lowest
    seen: list[th.Tensor] = []

    def watch(features: th.Tensor, actions: th.Tensor) -> th.Tensor:
        seen.append(actions.detach())
        return lowest(features, actions)

    agent.critic.lowest = watch  # type: ignore[method-assign]
    agent.update(batch)
    whole = [bool(((x - x.round()).abs() < 1e-6).all()) for x in seen]
    # The score function's baseline is what critics say of the mean action.
    assert whole == {"gumbel": [False], "score": [False, True]}.get(estimator, [True])


def test_before_learning_starts_actions_are_uniform() -> None:
    agent = make(learning_starts=200)
    with th.no_grad():
        agent.actor.logits.bias.copy_(th.tensor([0.0, 99.0, 0.0]))
    agent.learn(240)
    actions = agent.replay_buffer.actions[:240, 0, 0]
    assert (np.bincount(actions[:200]) > 40).all()


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_the_actor_learns_which_action_is_better(estimator: Any) -> None:
    """Every step earns the number of its action: the last one is best."""
    agent = make(
        estimator=estimator,
        gamma=0.5,
        ent_coef=0.05,
        learning_rate=0.01,
        batch_size=64,
        policy_kwargs={"net_arch": [16]},
    ).learn(150)
    assert {int(agent.predict(np.full(3, x, np.float32))[0]) for x in (0.0, 0.5)} == {2}


def test_targets_follow_the_critics_at_their_interval() -> None:
    agent = make(target_update_interval=3, tau=0.25)
    batch = batch_of(agent)
    steps = []
    for _ in range(6):
        old = numbers(agent)
        agent.update(batch)
        new = numbers(agent)
        steps.append("critic_target" in moved(old, new))
        if steps[-1]:
            for name, value in new.items():
                if name.startswith("critic_target"):
                    source = new[name.replace("critic_target", "critic")]
                    th.testing.assert_close(value, 0.75 * old[name] + 0.25 * source)
    assert steps.count(True) == 2


def test_a_shared_extractor_learns_from_the_actor_alone(tmp_path: Any) -> None:
    seen = spaces.Dict(image=spaces.Box(0, 255, (36, 36, 3), np.uint8), vector=VECTOR)
    env = RandomEnv(seen, spaces.Discrete(3))
    env.observation_space.seed(0)
    kwargs = {
        "net_arch": [8],
        "share_features_extractor": True,
        "features_extractor_kwargs": {"cnn_output_dim": 8},
    }
    agent = DiscreteSAC(
        "MultiInputPolicy", env, **{**DiscreteSAC.smallest, "policy_kwargs": kwargs}, seed=0
    ).learn(20)
    batch = agent.replay_buffer.sample(8)
    agent.actor.optimizer.param_groups[0]["lr"] = 0.0
    before = numbers(agent)
    agent.update(batch)
    changed = [name for name, x in agent.policy.state_dict().items() if not x.equal(before[name])]
    loaded: Any = pickle.loads(pickle.dumps(agent.policy))
    agent.policy.save(tmp_path / "policy")
    for policy in (loaded, type(agent.policy).load(tmp_path / "policy")):
        assert policy.critic.features_extractor is policy.actor.features_extractor
    assert changed
    assert not [name for name in changed if "features_extractor" in name and "target" not in name]


def test_the_entropys_weight_holds_the_entropy() -> None:
    """It rises while there is less entropy than wanted, and falls while there is more."""
    for scale, direction in ((0.0, -1.0), (1.0, 1.0)):
        agent = make(target_entropy_scale=scale, learning_rate=0.01)
        batch = batch_of(agent)
        spread(agent)
        before = agent.update(batch)["ent_coef"]
        after = agent.update(batch)["ent_coef"]
        assert direction * float(after - before) > 0.0


@pytest.mark.parametrize(("ent_coef", "start"), [("auto", 1.0), ("auto_0.1", 0.1)])
def test_a_learned_weight_of_the_entropy_begins_where_it_is_told(
    ent_coef: str, start: float
) -> None:
    agent = make(ent_coef=ent_coef)
    agent.replay_buffer = make(learning_starts=100).learn(20).replay_buffer  # before any update
    found = float(agent.update(agent.replay_buffer.sample(4))["ent_coef"])
    assert math.isclose(found, start, rel_tol=1e-6)


def test_a_fixed_weight_of_the_entropy_stays() -> None:
    agent = make(ent_coef=0.3)
    told = [agent.update(batch_of(agent)) for _ in range(2)]
    assert [round(float(x["ent_coef"]), 6) for x in told] == [0.3, 0.3]
    assert "ent_coef_loss" not in told[0]


def test_the_temperature_moves_along_its_line() -> None:
    """One that falls from far too high makes relaxed actions ever less alike."""
    seen = []
    agent = make(temperature=(50.0, 0.1, 60), gamma=0.0)
    lowest = agent.critic.lowest

    def watch(features: th.Tensor, actions: th.Tensor) -> th.Tensor:
        if actions.requires_grad:
            seen.append(float(actions.detach().max(-1).values.mean()))
        return lowest(features, actions)

    agent.critic.lowest = watch  # type: ignore[method-assign]
    agent.learn(80)
    assert seen[0] < 0.4  # a third for each
    assert min(seen[-10:]) > 0.8


def test_the_entropy_that_is_held_moves_along_its_line() -> None:
    """With a weight of e, its loss is how much more entropy there is than wanted."""
    agent = make(target_entropy_scale=(1.0, 0.5, 60), ent_coef=f"auto_{math.e}", learning_rate=0.0)
    batch = batch_of(agent)
    for step, share in ((0, 1.0), (30, 0.75), (60, 0.5), (90, 0.5)):
        agent.num_timesteps = step
        told = agent.update(batch)
        wanted = float((told["entropy"] - told["ent_coef_loss"]).detach().mean())
        assert math.isclose(wanted, share * math.log(3), rel_tol=1e-5)


# ------------------------------------------------------------------ spaces, devices, files


@pytest.mark.parametrize("space", SHIFTED, ids=["Discrete", "MultiDiscrete"])
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_actions_that_do_not_begin_at_zero_are_kept_as_they_are(
    estimator: Any, space: spaces.Space
) -> None:
    """The environment refuses others, and the replay holds what was done there."""
    agent = make(space, estimator=estimator, expected_backup=estimator == "exact").learn(40)
    buffer = agent.replay_buffer
    rewards, actions = buffer.rewards[:40, 0], buffer.actions[:40, 0]
    assert np.array_equal(rewards, actions.sum(-1))
    assert len(np.unique(actions, axis=0)) > 1


def test_parts_of_an_action_are_chosen_by_their_own_logits() -> None:
    agent = make(spaces.MultiDiscrete([3, 2]))
    with th.no_grad():
        agent.actor.logits.weight.zero_()
        agent.actor.logits.bias.copy_(th.tensor([0.0, 9.0, 0.0, 0.0, 9.0]))
    assert agent.predict(np.zeros(3, np.float32), deterministic=True)[0].tolist() == [1, 1]


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("policy", ["MlpPolicy", "CnnPolicy", "MultiInputPolicy"])
def test_every_policy_learns_with_every_estimator(policy: str, estimator: Any) -> None:
    image = spaces.Box(0, 255, (36, 36, 1), np.uint8)
    both = spaces.Dict(a=image, b=VECTOR)
    given: dict[str, spaces.Space] = {"MlpPolicy": VECTOR, "CnnPolicy": image}
    seen = given.get(policy, both)
    env = make_vec_env(lambda: RandomEnv(seen, spaces.MultiDiscrete([2, 3])), n_envs=2, seed=0)
    agent = DiscreteSAC(policy, env, **DiscreteSAC.smallest, estimator=estimator, seed=0)
    before = numbers(agent)
    agent.learn(20)
    assert moved(before, numbers(agent)) == {"actor", "critic", "critic_target"}
    assert agent.predict(env.reset())[0].shape == (2, 2)  # type: ignore[arg-type]


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("ent_coef", ["auto_0.1", 0.2])
def test_a_loaded_agent_goes_on_with_its_weight_of_the_entropy(
    estimator: Any, ent_coef: Any, tmp_path: Any
) -> None:
    agent = make(estimator=estimator, ent_coef=ent_coef, learning_rate=0.01)
    batch = batch_of(agent)
    for _ in range(3):
        agent.update(batch)
    agent.save(tmp_path / "agent")
    again = DiscreteSAC.load(tmp_path / "agent", device="cpu")
    assert (again.estimator, again.ent_coef) == (estimator, ent_coef)
    one, other = (x.update(batch)["ent_coef"] for x in (agent, again))
    assert th.equal(one, other)
    assert float(one) != 1.0


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_another_device_is_asked_once_a_round(
    estimator: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tensors on the wrong device raise there; numbers are copied for the log alone."""
    second_device.install(monkeypatch)
    settings: Any = dict(estimator=estimator, expected_backup=estimator == "exact")
    agent = make(device=second_device.NAME, **settings).learn(20)
    assert {p.device.type for p in agent.policy.parameters()} == {second_device.NAME}
    for updates in (1, 3):
        with second_device.counting() as copies:
            agent.train(updates)
        assert copies == {"tolist": 1}


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_another_device_learns_what_a_cpu_does(
    estimator: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    second_device.install(monkeypatch)
    learned = []
    for where in ("cpu", second_device.NAME):
        agent = make(device=where, estimator=estimator, learning_rate=0.01)
        before, held = numbers(agent), list(agent.policy.parameters())
        trained = [p for x in agent.optimizers()[:2] for p in x.param_groups[0]["params"]]
        assert {id(p) for p in trained} <= {id(p) for p in held}
        agent.learn(20)
        assert agent._n_updates == 10
        assert moved(before, numbers(agent)) == {"actor", "critic", "critic_target"}
        learned.append([p.detach().cpu() for p in held])
    for one, other in zip(*learned, strict=True):
        th.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("check", CHECKS)
def test_the_contract_holds_for_what_is_not_the_default(check: str) -> None:
    """A sum over all actions, of several parts, with a weight of the entropy that is fixed."""
    case = Case(
        DiscreteSAC,
        lambda: RandomEnv(VECTOR, spaces.MultiDiscrete([3, 2])),
        estimator="exact",
        expected_backup=True,
        ent_coef=0.1,
    )
    if why := CHECKS[check].why_not(case):
        pytest.skip(why)
    CHECKS[check](case)


# ------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("estimator", "reinforce"),
        ("temperature", 0.0),
        ("temperature", (1.0, 0.0, 100)),
        ("ent_coef", "automatic"),
        ("ent_coef", "auto_0"),
        ("ent_coef", -0.1),
        ("target_entropy_scale", 1.5),
        ("target_update_interval", 0),
        ("expected_backup", "yes"),
        ("tau", 2.0),
    ],
)
def test_settings_that_make_no_sense_are_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=name):
        make(**{name: value})
    agent = make()
    setattr(agent, name, value)
    with pytest.raises(ValueError, match=name):
        agent.learn(1)


@pytest.mark.parametrize("settings", [{"estimator": "exact"}, {"expected_backup": True}])
def test_more_actions_than_can_be_evaluated_are_refused(settings: Any) -> None:
    many = spaces.MultiDiscrete([11, 10, 10])
    with pytest.raises(ValueError, match=r"has 1,100; there may be 1,024"):
        make(many, **settings)
    assert make(many).learn(20).num_timesteps == 20


def test_other_actions_and_policies_are_refused() -> None:
    with pytest.raises(AssertionError, match="only supports"):
        make(spaces.Box(-1.0, 1.0, (2,), np.float32))
    with pytest.raises(ValueError, match="DiscreteSAC needs a DiscreteSACPolicy, not the SACPol"):
        DiscreteSAC(SACPolicy, Counting(spaces.Discrete(2)))  # type: ignore[arg-type]


def test_a_loss_that_is_not_finite_stops_the_training() -> None:
    agent = make()
    batch = batch_of(agent)
    before = numbers(agent)
    with pytest.raises(FloatingPointError, match="critic"):
        agent.update(batch._replace(rewards=batch.rewards * math.nan))
    assert not moved(before, numbers(agent))


def broken(agent: DiscreteSAC, part: str) -> None:
    """Let the gradient of a network's output be infinite, whose value stays what it is."""
    layer: Any = agent.actor.logits if part == "actor" else agent.critic.q_networks[0]
    layer.register_forward_hook(lambda _, __, out: _Steep.apply(out) if out.requires_grad else out)


class _Steep(th.autograd.Function):
    @staticmethod
    def forward(_: Any, x: th.Tensor) -> th.Tensor:
        return x.clone()

    @staticmethod
    def backward(_: Any, grad: th.Tensor) -> th.Tensor:
        return grad * math.inf


@pytest.mark.parametrize("part", ["critic", "actor"])
def test_a_gradient_that_is_not_finite_reaches_no_parameters(part: str) -> None:
    agent = make(estimator="score")
    batch = batch_of(agent)
    before = numbers(agent)
    broken(agent, part)
    with pytest.raises(FloatingPointError, match=f"{part}_grad_norm = (inf|nan)"):
        agent.update(batch)
    assert part not in moved(before, numbers(agent))


@pytest.mark.parametrize("cause", ["rewards", "critic", "actor"])
def test_what_is_not_finite_stops_another_device_after_the_round(
    cause: str, device: str, tmp_path: Path
) -> None:
    """Nobody waits for the device to look at a loss; until someone does, nothing is destroyed."""
    agent = make(device=device, estimator="score").learn(20)
    agent.set_logger(configure(str(tmp_path), []))
    if cause == "rewards":
        agent.replay_buffer.rewards[:] = math.nan
    else:
        broken(agent, cause)
    expected = "critic = nan" if cause == "rewards" else f"{cause}_grad_norm = (inf|nan)"
    with pytest.raises(FloatingPointError, match=expected):
        agent.train(3)
    (path,) = tmp_path.glob("last_good_*.zip")
    saved = DiscreteSAC.load(path, device="cpu").policy.state_dict()
    assert all(bool(value.isfinite().all()) for value in saved.values())
