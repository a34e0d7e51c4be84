"""Planning with a perfect model: the true simulator, as in table 1 of the PlaNet paper."""

from contextlib import nullcontext
from pathlib import Path

import gymnasium as gym
import torch as th

from dreamzoo.envs.rendering import film_writer
from dreamzoo.planning.cem import CEM
from dreamzoo.planning.true_simulator import PLANET_ACTION_REPEAT, TrueSimulator

#: Mean returns of CEM with the true simulator, PlaNet, table 1.
PUBLISHED = {
    "ball_in_cup-catch": 993,
    "cartpole-swingup": 850,
    "cheetah-run": 656,
    "finger-spin": 825,
    "reacher-easy": 964,
    "walker-walk": 994,
}

#: The paper's planner.
PAPER = CEM()


def published_return(
    task: str, planner: CEM, action_repeat: int, steps: int | None = None
) -> float | None:
    """
    Look up what the paper reports, if what was run is what it reports on.

    Fewer candidates count as the same planner; another horizon, number of iterations, share of
    elites or action repeat does not.

    :param task: domain-task of dm_control's suite
    :param planner: planner
    :param action_repeat: of the environment
    :param steps: after which episodes were stopped; None: they were whole
    """
    like_paper = (
        (planner.horizon, planner.iterations) == (PAPER.horizon, PAPER.iterations)
        and planner.elites == max(1, planner.candidates // 10)
        and action_repeat == PLANET_ACTION_REPEAT.get(task)
        and steps is None
    )
    return PUBLISHED.get(task) if like_paper else None


def plan_episode(
    env: gym.Env,
    simulator: TrueSimulator,
    planner: CEM,
    generator: th.Generator,
    steps: int | None = None,
    video: Path | None = None,
) -> float:
    """
    Act by planning anew at every step, from a reset to the episode's end.

    :param env: just reset
    :param simulator: of the same environment
    :param planner: planner
    :param generator: source of the candidates
    :param steps: actions after which to stop early
    :param video: file to write what is seen to
    :return: sum of the rewards
    """
    assert env.action_space.shape is not None
    (action_dim,) = env.action_space.shape
    total, step, done = 0.0, 0, False
    film = film_writer(video, env.metadata["render_fps"], "video") if video else nullcontext()
    with film as writer:
        while not done and step != steps:
            plan = planner.plan(simulator, action_dim, generator=generator)
            _, reward, terminated, truncated, _ = env.step(plan.mean[0, 0].numpy())
            total, step, done = total + float(reward), step + 1, terminated or truncated
            if writer is not None:
                writer.append_data(env.render())
    return total
