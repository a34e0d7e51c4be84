"""Published settings of Dreamer V1 and V2 are ones that the agents take, and the papers' own."""

import inspect
from typing import Any

import pytest

from dreamzoo.benchmark import atari
from dreamzoo.cli import train
from dreamzoo.dreamer_v1 import DreamerV1, DreamerV1Policy
from dreamzoo.dreamer_v2 import DreamerV2, DreamerV2Policy
from dreamzoo.hyperparams import HYPERPARAMS, VARIANTS, published
from dreamzoo.hyperparams.dreamer_v2 import GAMES
from dreamzoo.testing.random_env import RandomEnv

AGENTS: dict[str, tuple[Any, Any]] = {
    "dreamer_v1": (DreamerV1, DreamerV1Policy),
    "dreamer_v2": (DreamerV2, DreamerV2Policy),
}
OF_A_RUN = {"policy", "n_timesteps", "env_kwargs", "policy_kwargs"}


@pytest.mark.parametrize("name", AGENTS)
def test_agents_know_their_settings(name: str) -> None:
    agent, policy = AGENTS[name]
    for given in [*HYPERPARAMS[name].values(), *VARIANTS.get(name, {}).values()]:
        assert set(given) - OF_A_RUN <= set(inspect.signature(agent).parameters)
        assert set(given.get("policy_kwargs", {})) <= set(inspect.signature(policy).parameters)
        values = {k: v for k, v in given.items() if k in agent.settings}
        for key, value in values.items():
            assert agent.settings[key].read(value) is not None or value is None


def test_atari_has_the_games_of_the_metrics() -> None:
    assert sorted(GAMES) == sorted(atari.games())
    settings = published("dreamer_v2", "atari/pong")
    assert settings["steps"] == 50_000_000
    beside = {"learning_starts": 50_000, "reward_transform": "tanh"}  # the rest are the defaults
    assert dict(settings["agent_kwargs"]) == beside


def test_control_updates_every_five_steps() -> None:
    settings = dict(published("dreamer_v2", "dmc_pixels/walker-walk")["agent_kwargs"])
    assert settings["train_ratio"] / (settings["batch_size"] * 50) == 1 / 5


def test_dreamer_v1_updates_a_hundred_times_after_five_hundred_steps() -> None:
    settings = dict(published("dreamer_v1", "dmc_pixels/walker-walk")["agent_kwargs"])
    agent = inspect.signature(DreamerV1).parameters
    ratio = agent["train_ratio"].default / (50 * 50)
    assert settings["train_freq"] * ratio == 100


def test_dreamer_v1_learns_before_it_first_acts() -> None:
    """2,500 random decisions, then updates: no untrained actor collects 500."""
    settings = dict(published("dreamer_v1", "dmc_pixels/walker-walk")["agent_kwargs"])
    small = {**DreamerV1.smallest, "train_freq": 5, "learning_starts": 24, "pretrain": 1}
    ratio = settings["train_freq"] // small["train_freq"]
    assert (settings["learning_starts"] + 1) == ratio * (small["learning_starts"] + 1) == 2_500
    agent = DreamerV1("MlpPolicy", RandomEnv(), seed=0, **small)
    acted: list[int] = []  # and imagined, in updates
    agent.policy.actor.register_forward_hook(lambda *_: acted.append(agent.num_timesteps))
    agent.learn(25)
    assert agent._n_updates == 1
    agent.learn(5, reset_num_timesteps=False)
    assert min(acted) >= 25


def test_dreamer_v1_has_other_settings_for_discrete_actions() -> None:
    """Appendix A of the paper; exploration and the head for ends are defaults."""
    published_ones = dict(published("dreamer_v1", "CartPole-v1", "discrete")["agent_kwargs"])
    settings = {**DreamerV1.smallest, **published_ones, "buffer_size": 100, "learning_starts": 6}
    agent = DreamerV1("MlpPolicy", "CartPole-v1", seed=0, **settings).learn(10)
    assert agent._n_updates > 0
    assert (agent.horizon, agent.kl_coef, agent.reward_transform) == (10, 0.1, "tanh")
    assert agent.world_model.learns_discount


def test_schedules_end_after_ten_million_frames() -> None:
    """The paper's ablations begin from these: 2.5M decisions, each of four frames."""
    lines = {"rho": (0.9, 1.0, 2_500_000), "ent_coef": (3e-3, 3e-4, 2_500_000)}
    assert VARIANTS["dreamer_v2"]["schedules"] == lines


#: Rows of table 2, and the one setting of the agent or of its policy in which each differs.
TABLE_2: dict[str, dict[str, Any]] = {
    "no_layer_norm": {"layer_norm": False},
    "no_reward_gradients": {"reward_gradients": False},
    "no_discrete_latents": {"latents": "gaussian", "stoch": 50},
    "no_kl_balancing": {"kl_balance": None},
    "no_policy_reinforce": {"rho": 0.0},
    "no_image_gradients": {"image_gradients": False},
}


def test_variants_are_the_schedules_and_the_rows_of_table_2() -> None:
    assert VARIANTS["dreamer_v2"].keys() == {"schedules", *TABLE_2}


def flat(settings: dict[str, Any]) -> dict[str, Any]:
    """All settings of a run in one dict."""
    rest = {k: v for k, v in settings.items() if not isinstance(v, list)}
    return rest | {k: v for pairs in settings.values() if isinstance(pairs, list) for k, v in pairs}


@pytest.mark.parametrize("beside", [(), ("schedules",)], ids=["alone", "schedules"])
@pytest.mark.parametrize("env", ["atari/pong", "dmc_pixels/walker-walk"])
@pytest.mark.parametrize("name", TABLE_2)
def test_an_ablation_differs_in_what_it_names_and_in_nothing_else(
    name: str, env: str, beside: tuple[str, ...]
) -> None:
    base = flat(published("dreamer_v2", env, *beside))
    assert flat(published("dreamer_v2", env, *beside, name)) == base | TABLE_2[name]


@pytest.mark.parametrize("name", VARIANTS["dreamer_v2"])
@pytest.mark.parametrize("env", ["atari/pong", "dmc/walker-walk"])
def test_an_agent_learns_with_every_variant(env: str, name: str) -> None:
    """Widths, batches and what comes before learning are tiny here."""
    given, tiny = published("dreamer_v2", env, name), DreamerV2.smallest
    policy = dict(given["policy_kwargs"]) | tiny["policy_kwargs"]
    small = {k: tiny[k] for k in ("batch_size", "batch_length", "train_ratio", "horizon")}
    few = {"learning_starts": 11, "buffer_size": 100, "pretrain": 1}
    settings = dict(given["agent_kwargs"]) | small | few
    agent = DreamerV2("MlpPolicy", RandomEnv(), policy_kwargs=policy, seed=0, **settings).learn(14)
    assert agent._n_updates > 0
    for key, value in TABLE_2.get(name, {}).items():
        if key in DreamerV2.settings:
            assert getattr(agent, key) == value


def test_a_variant_for_any_environment_needs_no_entry_and_leaves_the_rest() -> None:
    task = ["--agent", "dreamer_v1", "--env", "CartPole-v1", "--published"]
    run = train.parse_args([*task, "discrete", "-a", "horizon=7", "--seed", "4"])
    expected = {"horizon": 7, "kl_coef": 0.1, "reward_transform": "tanh"}
    assert dict(run.agent_kwargs) == expected
    assert (run.policy, run.steps, run.seed) == ("MlpPolicy", 24_000, 4)
    assert run.env_kwargs == run.policy_kwargs == []
    with pytest.raises(SystemExit, match=r"on CartPole-v1\. .* On any environment .* discrete\."):
        train.parse_args(task)
    with pytest.raises(SystemExit, match="No published settings of dreamer_v2 on CartPole-v1"):
        train.parse_args([*task, "schedules", "--agent", "dreamer_v2"])


def test_a_variant_for_any_environment_counts_where_there_is_an_entry() -> None:
    env = "dmc_pixels/walker-walk"
    entry = flat(published("dreamer_v1", env))
    discrete = {"horizon": 10, "kl_coef": 0.1, "reward_transform": "tanh"}
    assert flat(published("dreamer_v1", env, "discrete")) == entry | discrete


def test_the_command_line_names_variants() -> None:
    task = ["--agent", "dreamer_v2", "--env", "atari/pong", "--published"]
    assert dict(train.parse_args(task).agent_kwargs)["reward_transform"] == "tanh"
    row = train.parse_args([*task, "schedules", "no_layer_norm", "-a", "batch_size=16"])
    assert row.published == ["schedules", "no_layer_norm"]
    assert dict(row.policy_kwargs) == {"layer_norm": False}
    assert dict(row.agent_kwargs)["rho"] == (0.9, 1.0, 2_500_000)
    assert dict(row.agent_kwargs)["batch_size"] == 16
    with pytest.raises(SystemExit, match="No published variant 'no_noise' of dreamer_v2; there"):
        train.parse_args([*task, "no_noise"])
    with pytest.raises(SystemExit, match="No published variant 'schedules' of dreamer_v1; there"):
        train.parse_args(
            ["--agent", "dreamer_v1", "--env", "dmc_pixels/walker-walk", "--published", "schedules"]
        )
