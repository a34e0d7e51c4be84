"""Five ways through a discrete action, beside SB3's DQN and PPO at the same steps."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

from dreamzoo.benchmark.comparisons.comparison import Comparison
from dreamzoo.benchmark.run_config import Run
from dreamzoo.discrete_sac.discrete_sac import EstimatorName
from dreamzoo.hyperparams import published

STEPS = {"CartPole-v1": 50_000, "Acrobot-v1": 50_000, "LunarLander-v3": 150_000}
#: Of every run: evaluations of the most likely actions.
EVALUATION: dict[str, Any] = {"eval_episodes": 20, "deterministic_eval": True}
EVALUATIONS, SAVES = 10, 5

_DQN_CONTROL: dict[str, Any] = {
    **{"learning_rate": 6.3e-4, "batch_size": 128, "buffer_size": 50_000, "learning_starts": 0},
    **{"gamma": 0.99, "target_update_interval": 250, "train_freq": 4, "gradient_steps": -1},
    **{"exploration_fraction": 0.12, "exploration_final_eps": 0.1},
}
#: DQN's settings in RL Zoo (hyperparams/dqn.yml of version 2), with networks of 2 x 256.
DQN: dict[str, dict[str, Any]] = {
    "CartPole-v1": {
        **{"learning_rate": 2.3e-3, "batch_size": 64, "buffer_size": 100_000},
        **{"learning_starts": 1_000, "gamma": 0.99, "target_update_interval": 10},
        **{"train_freq": 256, "gradient_steps": 128},
        **{"exploration_fraction": 0.16, "exploration_final_eps": 0.04},
    },
    "Acrobot-v1": _DQN_CONTROL,
    "LunarLander-v3": _DQN_CONTROL,
}
#: PPO's in RL Zoo on CartPole (hyperparams/ppo.yml), with rates that do not fall; those of the
#: other two are made for a million steps, so there SB3's defaults are taken.
PPO: dict[str, dict[str, Any]] = {
    "CartPole-v1": {
        **{"n_steps": 32, "batch_size": 256, "gae_lambda": 0.8, "gamma": 0.98, "n_epochs": 20},
        **{"ent_coef": 0.0, "learning_rate": 1e-3},
    },
}
PPO_ENVS = {"CartPole-v1": 8}


def baselines(env: str, **shared: Any) -> Iterator[Run]:
    """
    Give SB3's DQN and PPO on a task, with the settings above, or with SB3's where there are none.

    :param env: name of the task
    :param shared: what else both runs have
    """
    yield Run(
        "dqn",
        env,
        Path(),
        policy_kwargs=[("net_arch", [256, 256])] if env in DQN else [],
        agent_kwargs=list(DQN.get(env, {}).items()),
        **shared,
    )
    yield Run(
        "ppo",
        env,
        Path(),
        agent_kwargs=list(PPO.get(env, {}).items()),
        n_envs=PPO_ENVS.get(env, 1),
        **shared,
    )


def _runs() -> Iterator[Run]:
    for env, steps in STEPS.items():
        shared = EVALUATION | {
            "steps": steps,
            "eval_every": steps // EVALUATIONS,
            "save_every": steps // SAVES,
        }
        settings = published("discrete_sac", env)
        for estimator in get_args(EstimatorName):
            yield Run(
                "discrete_sac",
                env,
                Path(),
                policy_kwargs=settings["policy_kwargs"],
                agent_kwargs=[("estimator", estimator), *settings["agent_kwargs"]],
                n_envs=settings["n_envs"],
                label=f"DiscreteSAC {estimator}",
                **shared,
            )
        yield from baselines(env, **shared)


DISCRETE_SAC = Comparison(
    "DiscreteSAC with five estimators and settings found on these three tasks (CartPole's with "
    "seeds 0 and 1), beside SB3's DQN with RL Zoo's settings and PPO with RL Zoo's on CartPole and "
    "SB3's defaults on the others",
    STEPS,
    None,
    tuple(_runs()),
)
