"""What is timed: an agent at its published settings, and a replay that it has filled."""

import os
from typing import Any, NamedTuple

from stable_baselines3.common.vec_env import DummyVecEnv

from dreamzoo import AGENTS
from dreamzoo.benchmark.synthetic import Synthetic
from dreamzoo.common.arguments import constructor
from dreamzoo.common.world_model_algorithm import WorldModelAlgorithm
from dreamzoo.hyperparams import HYPERPARAMS
from dreamzoo.nn.fast import kernels
from dreamzoo.nn.fast.precision import Precision
from dreamzoo.nn.fast.ranks import place, share

#: Agents that learn a world model from a replay, by name.
MODEL_AGENTS: dict[str, type[WorldModelAlgorithm]] = {
    name: agent for name, agent in AGENTS.items() if issubclass(agent, WorldModelAlgorithm)
}
#: The task whose published settings are taken, by kind of task and by observation.
TASKS = {
    "control": {"vector": "dmc/walker-walk", "image": "dmc_pixels/walker-walk"},
    "atari": {"vector": "atari/pong", "image": "atari/pong"},
}
#: Published settings that say what an update computes; others say when there is one.
COMPUTED = ("policy_kwargs", "batch_size", "batch_length", "horizon", "rho")


class Work(NamedTuple):
    """
    What is computed.

    :param agent: name of the agent
    :param obs: ``vector`` or ``image``
    :param task: ``control``: six numbers are an action; ``atari``: one of 18
    :param size: of DreamerV3's model; None for others
    :param batch: sequences of an update; this and the next two: None is what was published
    :param length: their steps
    :param horizon: imagined steps
    :param device: where
    """

    agent: str = "dreamer_v3"
    obs: str = "vector"
    task: str = "control"
    size: str | None = "1m"
    batch: int | None = None
    length: int | None = None
    horizon: int | None = None
    device: str = "cpu"


class Mode(NamedTuple):
    """
    How updates are computed.

    :param precision: of matrix products
    :param graph: as one CUDA graph, where the device has such
    :param triton: with kernels in Triton, where the device has such
    """

    precision: Precision
    graph: bool
    triton: bool


#: For counting: nothing is hidden in a graph or in a kernel.
PLAIN = Mode("fp32", graph=False, triton=False)


def settings_of(work: Work) -> dict[str, Any]:
    """
    Return the arguments of the agent that say what an update computes.

    :param work: what it computes
    :return: its published settings, but for what the work says otherwise
    """
    published = HYPERPARAMS.get(work.agent, {}).get(TASKS[work.task][work.obs], {})
    settings = {name: value for name, value in published.items() if name in COMPUTED}
    if work.agent == "dreamer_v3":
        settings["policy_kwargs"] = {"size": work.size}
    said = {"batch_size": work.batch, "batch_length": work.length, "horizon": work.horizon}
    return settings | {name: value for name, value in said.items() if value is not None}


def make_model(work: Work, mode: Mode, n_envs: int | None = None) -> WorldModelAlgorithm:
    """
    Build the agent and fill its replay by acting with the initial policy.

    :param work: what it computes
    :param mode: how
    :param n_envs: environments, of every rank; default: as many as it has sequences of a batch
    """
    os.environ["DREAMZOO_TRITON"] = "1" if mode.triton else "0"
    kernels.has_triton.cache_clear()
    agent, settings = MODEL_AGENTS[work.agent], settings_of(work)
    parameters = constructor(agent).parameters
    batch, length = (
        settings.get(name, parameters[name].default) for name in ("batch_size", "batch_length")
    )
    n_envs = n_envs or share(batch)
    env = DummyVecEnv([lambda: Synthetic(work.obs, work.task) for _ in range(n_envs)])
    if "pretrain" in parameters:
        settings["pretrain"] = 0  # what is timed is learning, not how it begins
    model = agent(
        "CnnPolicy" if work.obs == "image" else "MlpPolicy",
        env,
        **settings,
        buffer_size=batch * (3 * length + 50),
        learning_starts=10**9,
        device=work.device,
        precision=mode.precision,
        cuda_graph=mode.graph,
        seed=0,
    )
    return model.learn(place().count * n_envs * (2 * length + 20))
