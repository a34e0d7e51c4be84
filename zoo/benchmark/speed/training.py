"""How fast an agent trains, and what the time goes into."""

from typing import Any

from stable_baselines3.common.base_class import BaseAlgorithm

from dreamzoo.benchmark.speed.clock import Clock


def time_training(model: BaseAlgorithm, steps: int, warm_up: int) -> dict[str, Any]:
    """
    Time ``learn``, whosever algorithm it is.

    Example:
        >>> from dreamzoo.benchmark.speed.training import time_training
        >>> from stable_baselines3 import PPO
        >>> ppo = PPO("MlpPolicy", "CartPole-v1", n_steps=64, n_epochs=1, device="cpu")
        >>> sorted(time_training(ppo, steps=128, warm_up=64)["shares"])
        ['acting', 'environment', 'training']

    :param model: with its environment
    :param steps: that are timed, of all environments together
    :param warm_up: steps before them
    :return: ``steps_per_second`` and the shares of the time: of the environment's steps, of
        updates, and of all else, mostly acting
    """
    model.learn(warm_up)
    clock, before = Clock(model.device), model.num_timesteps
    env: Any = model.env
    clock.wrap(env, "step", "environment")
    clock.wrap(model, "train", "training")
    clock.wrap(model, "learn", "acting")
    try:
        model.learn(steps, reset_num_timesteps=False)
    finally:
        for owner, name in ((env, "step"), (model, "train"), (model, "learn")):
            delattr(owner, name)  # what was wrapped is the class's own
    seconds = sum(clock.seconds.values())
    return {
        "steps_per_second": round((model.num_timesteps - before) / seconds, 1),
        "shares": {part: round(spent / seconds, 3) for part, spent in clock.seconds.items()},
    }
