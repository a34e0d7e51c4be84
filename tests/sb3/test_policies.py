"""What ``policy_kwargs`` can change, in SB3's words."""

import inspect
from copy import deepcopy
from pathlib import Path
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.preprocessing import get_flattened_obs_dim
from stable_baselines3.common.torch_layers import (
    BaseFeaturesExtractor,
    CombinedExtractor,
    NatureCNN,
)

from dreamzoo.common.arguments import POLICY_DEFAULTS
from dreamzoo.nn.settings import Whole
from tests.facts import Facts
from tests.resuming import has_replay

VECTOR = spaces.Box(-1.0, 1.0, (3,), np.float32)
IMAGE = spaces.Box(0, 255, (36, 36, 1), np.uint8)
MIXED = spaces.Dict({"image": IMAGE, "vector": VECTOR})


class NoisyExtractor(BaseFeaturesExtractor):
    """Has statistics that training changes, and randomness that acting must not have."""

    def __init__(self, observation_space: gym.Space, width: int = 8) -> None:
        super().__init__(observation_space, width)
        self.linear = th.nn.Linear(get_flattened_obs_dim(observation_space), width)
        self.norm = th.nn.BatchNorm1d(width)

    def forward(self, observations: th.Tensor) -> th.Tensor:
        features = self.norm(self.linear(observations.flatten(1)))
        return th.nn.functional.dropout(features, 0.5, self.training)


def n_parameters(module: th.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(
    ("net_arch", "actor", "critic"),
    [
        ([], [], []),
        ([4], [4], [4]),
        ([4, 6], [4, 6], [4, 6]),
        ({"pi": [8], "vf": [4, 6]}, [8], [4, 6]),
        ({"pi": [8], "qf": [4]}, [8], [4]),
        ({"pi": [8]}, [8], []),
    ],
)
@pytest.mark.usefixtures("actor_critic")
def test_widths_of_actor_and_critic(
    make_agent: Any, net_arch: Any, actor: list[int], critic: list[int]
) -> None:
    agent = make_agent(policy_kwargs={"net_arch": net_arch}).learn(16)
    assert agent._n_updates > 0
    assert agent.policy.net_arch == {"pi": actor, "vf": critic}


@pytest.mark.usefixtures("actor_critic")
def test_widths_of_actor_and_critic_by_default(make_agent: Any) -> None:
    arch = make_agent(policy_kwargs={"net_arch": None}).policy.net_arch
    assert arch == make_agent(policy_kwargs={"net_arch": dict(arch)}).policy.net_arch
    assert arch["pi"]
    assert arch["vf"]


@pytest.mark.usefixtures("actor_critic")
def test_the_list_around_a_dict_is_old(make_agent: Any) -> None:
    with pytest.warns(UserWarning, match="without the list"):
        policy = make_agent(policy_kwargs={"net_arch": [{"pi": [8], "vf": [4]}]}).policy
    assert policy.net_arch == {"pi": [8], "vf": [4]}


@pytest.mark.usefixtures("actor_critic")
def test_unknown_networks_are_refused(make_agent: Any) -> None:
    with pytest.raises(ValueError, match="expected pi and vf"):
        make_agent(policy_kwargs={"net_arch": {"actor": [4]}})
    for wrong in (8, [0], {"pi": [8], "vf": [2.5]}):
        with pytest.raises(ValueError, match=r"net_arch: .* must be a list of widths"):
            make_agent(policy_kwargs={"net_arch": wrong})


@pytest.mark.parametrize(
    ("policy", "space"), [("MlpPolicy", VECTOR), ("CnnPolicy", IMAGE), ("MultiInputPolicy", MIXED)]
)
def test_image_features_can_be_projected(
    make_agent: Any, make_env: Any, facts: Facts, policy: str, space: spaces.Space
) -> None:
    if not facts.projections:
        pytest.skip("its own encoder has its paper's shape")
    full = make_agent(make_env(space), policy).policy
    for name in facts.projections:
        kwargs = {"features_extractor_kwargs": {name: 5}}
        small = make_agent(make_env(space), policy, policy_kwargs=kwargs).policy
        if space is VECTOR:
            assert n_parameters(small) == n_parameters(full)
        else:
            assert small.world_model.encoder.features_dim < full.world_model.encoder.features_dim


def test_unknown_words_for_the_encoder_are_refused(make_agent: Any) -> None:
    with pytest.raises(ValueError, match="depth"):
        make_agent(policy_kwargs={"features_extractor_kwargs": {"depth": 5}})


@pytest.mark.parametrize(
    ("policy", "space", "extractor", "kwargs"),
    [
        ("MlpPolicy", VECTOR, NoisyExtractor, {"width": 6}),
        ("MlpPolicy", spaces.Discrete(4), NoisyExtractor, {"width": 6}),
        ("CnnPolicy", IMAGE, NatureCNN, {"features_dim": 6}),
        ("MultiInputPolicy", MIXED, CombinedExtractor, {"cnn_output_dim": 6}),
    ],
)
def test_extractors_of_the_user(
    make_agent: Any,
    make_env: Any,
    same_parameters: Any,
    tmp_path: Path,
    policy: str,
    space: Any,
    extractor: Any,
    kwargs: dict[str, int],
) -> None:
    policy_kwargs = {"features_extractor_class": extractor, "features_extractor_kwargs": kwargs}
    agent = make_agent(make_env(space), policy, policy_kwargs=policy_kwargs)
    module = agent.policy.features_extractor
    assert type(module) is extractor
    before = [parameter.clone() for parameter in module.parameters()]
    agent.policy.optimizer.param_groups[0]["warmup"] = 0
    agent.learn(24)
    assert any(not th.equal(a, b) for a, b in zip(before, module.parameters(), strict=True))
    agent.save(tmp_path / "agent")
    assert same_parameters(agent, type(agent).load(tmp_path / "agent", trusted=True))


class Seen(BaseFeaturesExtractor):
    """Keeps what it has seen."""

    def __init__(self, observation_space: gym.Space) -> None:
        super().__init__(observation_space, 2)
        self.shapes, self.highest = set[tuple[int, ...]](), 0.0

    def forward(self, observations: th.Tensor) -> th.Tensor:
        self.shapes.add(observations.shape[1:])
        self.highest = max(self.highest, float(observations.max()))
        return observations.flatten(1)[:, :2].float()


@pytest.mark.parametrize(
    "space", [IMAGE, spaces.MultiBinary([2, 3]), VECTOR], ids=["image", "binary", "vector"]
)
def test_extractors_of_an_mlp_policy_see_what_those_of_sb3_see(
    make_agent: Any, make_env: Any, space: Any
) -> None:
    kwargs = {"features_extractor_class": Seen}
    agent = make_agent(make_env(space), "MlpPolicy", policy_kwargs=kwargs)
    agent.predict(np.stack([space.sample() for _ in range(4)]))
    seen = agent.policy.features_extractor
    assert seen.shapes == {agent.observation_space.shape}  # images have their channels first
    assert 0 < seen.highest <= 1


def test_acting_leaves_statistics_and_dropout_alone(
    make_agent: Any, agent_class: Any, still: Any
) -> None:
    kwargs = {"features_extractor_class": NoisyExtractor}
    starts = {"learning_starts": 0} if has_replay(agent_class) else {}
    agent = make_agent(policy_kwargs=kwargs, **still(16), **starts)
    norm = agent.policy.features_extractor.norm
    mean = norm.running_mean.clone()
    # Sixteen steps are collected, and not one of them is learned from.
    agent.learn(17, callback=lambda *_: agent.num_timesteps < 16)
    observation = agent.env.reset()
    actions = [agent.predict(observation, deterministic=True)[0] for _ in range(3)]
    assert np.array_equal(actions[0], actions[1])
    assert np.array_equal(actions[0], actions[2])
    assert th.equal(mean, norm.running_mean)
    agent.gradient_steps = 1
    agent.learn(4)
    assert not th.equal(mean, norm.running_mean)


@pytest.mark.parametrize("kwargs", [None, {"weight_decay": 0.1}])
def test_optimizers_of_the_user(make_agent: Any, tmp_path: Path, kwargs: Any) -> None:
    policy_kwargs = {"optimizer_class": th.optim.AdamW, "optimizer_kwargs": kwargs}
    agent = make_agent(learning_rate=1e-3, policy_kwargs=policy_kwargs).learn(16)
    assert agent._n_updates > 0
    agent.save(tmp_path / "agent")
    optimizer = type(agent).load(tmp_path / "agent").policy.optimizer
    assert isinstance(optimizer, th.optim.AdamW)
    assert optimizer.param_groups[0]["lr"] == 1e-3
    if kwargs:
        assert optimizer.param_groups[0]["weight_decay"] == 0.1


def test_a_dict_of_vectors_is_learned_like_a_vector(agent_class: Any, make_env: Any) -> None:
    # With the public defaults, so that the networks are the same, too; plans need not be long.
    settings = dict(seed=1)
    if has_replay(agent_class):
        settings |= dict(buffer_size=100)
    if "candidates" in agent_class.settings:
        settings |= dict(candidates=20, elites=5)
    vector = agent_class("MlpPolicy", make_env(VECTOR), **settings)
    mixed = agent_class("MultiInputPolicy", make_env(spaces.Dict({"v": VECTOR})), **settings)
    observation = np.array([0.1, 0.2, -0.3], np.float32)
    one, _ = vector.predict(observation, deterministic=True)
    two, _ = mixed.predict({"v": observation}, deterministic=True)
    assert np.array_equal(one, two)
    assert n_parameters(vector.policy) == n_parameters(mixed.policy)


def test_the_features_extractor_is_registered_once(make_agent: Any) -> None:
    policy = make_agent().policy
    assert policy.features_extractor is getattr(policy, "world_model", policy).encoder
    assert not any(name.startswith("features_extractor") for name in policy.state_dict())


def test_forward_is_memoryless(make_agent: Any, shake: Any) -> None:
    agent = shake(make_agent())
    observation = np.array([[0.1, 0.2, -0.3]], np.float32)
    action = agent.policy(th.as_tensor(observation), deterministic=True)
    expected, _ = agent.predict(observation, deterministic=True)
    np.testing.assert_allclose(agent.policy.to_env_action(action.numpy()), expected)


def test_what_a_users_policy_adds_is_saved_and_loaded(
    make_agent: Any, agent_class: Any, tmp_path: Path
) -> None:
    base: Any = agent_class.policy_aliases["MlpPolicy"]

    class Wider(base):
        settings: ClassVar[Any] = {**base.settings, "width": Whole(1)}

        def __init__(self, *args: Any, width: int = 3, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.extra = th.nn.Linear(width, 2)

    policy = make_agent(policy=Wider, policy_kwargs={"width": 5}).policy
    policy.save(tmp_path / "policy")
    loaded = Wider.load(tmp_path / "policy")
    assert loaded.extra.in_features == 5
    for name, value in policy.state_dict().items():
        assert th.equal(value, loaded.state_dict()[name])
    with pytest.raises(ValueError, match=r"^Wider: width=0 must be at least 1"):
        make_agent(policy=Wider, policy_kwargs={"width": 0})


def test_what_a_users_policy_decides_is_not_asked_for_again(
    make_agent: Any, agent_class: Any, tmp_path: Path
) -> None:
    base: Any = agent_class.policy_aliases["MultiInputPolicy"]

    class Flat(base):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, images=False, **kwargs)

    make_agent(policy=Flat).policy.save(tmp_path / "policy")
    assert isinstance(Flat.load(tmp_path / "policy"), Flat)


def test_a_copied_policy_knows_its_arguments(make_agent: Any, tiny_policy: Any) -> None:
    policy = make_agent().policy
    copied = deepcopy(policy)
    given = copied._get_constructor_parameters()
    assert given.keys() == policy._get_constructor_parameters().keys() >= tiny_policy.keys()
    assert {name: given[name] for name in tiny_policy} == tiny_policy


def test_policies_show_every_argument(agent_class: Any) -> None:
    base = agent_class.policy_base
    own = {*inspect.signature(base.__init__).parameters} - {"self", "plumbing"}
    for kind in (base, *agent_class.policy_aliases.values()):
        assert {*inspect.signature(kind).parameters} == own | POLICY_DEFAULTS.keys()
    for name in own | POLICY_DEFAULTS.keys():
        assert (inspect.getdoc(base) or "").count(f":param {name}: ") == 1


def test_unknown_arguments_of_policies_are_refused_with_the_nearest(make_agent: Any) -> None:
    with pytest.raises(TypeError, match=r"^MlpPolicy\(\) got imags, .* name is images\. Nothing"):
        make_agent(policy_kwargs={"imags": False})
