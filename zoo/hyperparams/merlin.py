"""MERLIN's settings, found here on the tasks that need a memory."""

from typing import Any

from dreamzoo.hyperparams.zoo_format import ZooSettings, zoo_settings

#: Steps of a window.
WINDOW = 20
#: Of MERLIN, RL-MEM and RL-LSTM. The entropy keeps its weight: a policy that has stopped trying
#: anything cannot learn to read again what the predictor, which goes on learning, has begun to
#: write in another way. Rates fall, so that it seldom does: at constant ones chains of 100 steps
#: were learned and lost again.
SHARED: dict[str, Any] = {"learning_rate": "lin_2e-3", "gae_lambda": 0.95, "n_steps": WINDOW}
MERLIN: dict[str, Any] = {**SHARED, "actor_learning_rate": "lin_1e-3"}
#: As in SB3's PPO. Once a task is solved, gradients are next to nothing, and with a smaller epsilon
#: Adam makes whole steps of them.
CALM: dict[str, Any] = {"optimizer_kwargs": {"eps": 1e-5}}


def small(settings: dict[str, Any]) -> ZooSettings:
    """
    Let RL Zoo train with settings on two small tasks, for which nothing was searched for.

    :param settings: of an agent
    """
    run: dict[str, Any] = {"policy": "MlpPolicy", "n_timesteps": 200_000, "n_envs": 16}
    run |= {"policy_kwargs": CALM, **settings}
    return zoo_settings({"CartPole-v1": run, "Pendulum-v1": run})


hyperparams = small(MERLIN)
