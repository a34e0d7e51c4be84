"""Settings of DiscreteSAC are ones that it takes, alone and in its comparison."""

import inspect

import pytest

from dreamzoo import DiscreteSAC
from dreamzoo.benchmark.comparisons import COMPARISONS
from dreamzoo.cli import train
from dreamzoo.discrete_sac import DiscreteSACPolicy
from dreamzoo.hyperparams import HYPERPARAMS, published

OF_A_RUN = {"policy", "n_timesteps", "n_envs", "policy_kwargs"}


@pytest.mark.parametrize("env", HYPERPARAMS["discrete_sac"])
def test_the_agent_knows_its_settings(env: str) -> None:
    given = HYPERPARAMS["discrete_sac"][env]
    assert set(given) - OF_A_RUN <= set(inspect.signature(DiscreteSAC).parameters)
    assert set(given["policy_kwargs"]) <= set(inspect.signature(DiscreteSACPolicy).parameters)
    for name in given.keys() & DiscreteSAC.settings.keys() - OF_A_RUN:
        DiscreteSAC.settings[name].read(given[name])


def test_the_command_line_takes_environments_from_them() -> None:
    run = train.parse_args(["--agent", "discrete_sac", "--env", "CartPole-v1", "--published"])
    assert (run.n_envs, run.steps, run.policy) == (4, 50_000, "MlpPolicy")
    assert dict(run.agent_kwargs)["gradient_steps"] == 4
    assert "n_envs" not in dict(run.agent_kwargs)


def test_estimators_are_compared_with_one_setting() -> None:
    for env in HYPERPARAMS["discrete_sac"]:
        runs = [x for x in COMPARISONS["discrete_sac"].runs if x.env == env]
        ours = [x for x in runs if x.agent == "discrete_sac"]
        assert {x.agent for x in runs} == {"discrete_sac", "dqn", "ppo"}
        assert len({dict(x.agent_kwargs)["estimator"] for x in ours}) == len(ours) == 5
        for run in ours:
            rest = [(k, v) for k, v in run.agent_kwargs if k != "estimator"]
            assert rest == published("discrete_sac", env)["agent_kwargs"]
        assert {x.steps for x in runs} == {published("discrete_sac", env)["steps"]}
