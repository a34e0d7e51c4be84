"""Recording an agent of SB3 at several moments of its training, with Minari's own collector."""

from functools import partial
from typing import TYPE_CHECKING, Any

from stable_baselines3.common.env_util import make_vec_env

from dreamzoo.analysis.sb3_agents import make_sb3
from dreamzoo.benchmark.offline.tasks import OfflineTask
from dreamzoo.envs import make_env
from dreamzoo.envs.errors import requires_extra

if TYPE_CHECKING:
    from minari import MinariDataset


def record_behavior(task: OfflineTask, seed: int = 0) -> "MinariDataset":
    """
    Record a mixed policy, or load what was recorded before; Minari says where that lies.

    Example:
        >>> from dreamzoo.benchmark.offline import TASKS, record_behavior
        >>> dataset = record_behavior(TASKS["CartPole-v1"])  # doctest: +SKIP
        >>> dataset.total_episodes  # doctest: +SKIP
        50

    :param task: says who is recorded, and when
    :param seed: of the agent and of the episodes
    :return: the dataset: the episodes of every moment one after the other
    :raises ImportError: without Minari, with the line that installs it
    """
    with requires_extra("offline"):
        import minari
    if task.dataset in minari.list_local_datasets():
        return minari.load_dataset(task.dataset)
    maker = partial(make_env, task.env)
    training = make_vec_env(maker, task.behavior_envs, seed=seed)
    agent = make_sb3(task.behavior, training, seed=seed, **task.behavior_kwargs)
    env = maker()
    env.unwrapped.spec = None  # how dm_control's are made Minari cannot write
    collector = minari.DataCollector(env)
    collector.action_space.seed(seed)
    for moment in task.moments:
        missing = moment - agent.num_timesteps
        if missing > 0:
            agent.learn(missing, reset_num_timesteps=False)
        for _ in range(task.episodes_each):
            _play(collector, agent if moment else None, seed)
            seed += 1
    return collector.create_dataset(
        task.dataset,
        algorithm_name=f"{task.behavior} at {', '.join(map(str, task.moments))} steps",
        author="dreamzoo",
    )


def _play(collector: Any, agent: Any, seed: int) -> None:
    """Play an episode, at random where there is no agent."""
    obs, _ = collector.reset(seed=seed)
    over = False
    while not over:
        action = agent.predict(obs)[0] if agent else collector.action_space.sample()
        obs, _, terminated, truncated, _ = collector.step(action)
        over = terminated or truncated
