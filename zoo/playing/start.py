"""``dreamzoo.play(model, env)``: from an agent to a page in a browser."""

import pathlib
from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import torch as th
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from dreamzoo.common.environments.normalizer import load_normalizer
from dreamzoo.envs.dreams.agent import AgentWithModel
from dreamzoo.envs.dreams.load_model import Model, load_model
from dreamzoo.nn.settings import Whole, read_settings
from dreamzoo.planning import CEM
from dreamzoo.playing.browser import MOST_FPS
from dreamzoo.playing.reality import Env, maker
from dreamzoo.playing.server import HOST, Theater, listen, make_server
from dreamzoo.playing.session import MOST_DREAMS, QUICK, PlaySession

_SETTINGS = {
    "port": Whole(0),
    "dreams": Whole(1, MOST_DREAMS),
    "seed": Whole(0),
    "fps": Whole(1, MOST_FPS),
    "browsers": Whole(1),
}


def play(
    model: Model,
    env: Env | None = None,
    *,
    env_kwargs: Mapping[str, Any] | None = None,
    normalizer: VecNormalize | None = None,
    port: int = 8765,
    dreams: int = 1,
    seed: int = 0,
    fps: int = 15,
    browsers: int = 4,
    cem: CEM = QUICK,
    device: th.device | str = "auto",
    trusted: bool = False,
) -> None:
    """
    Let a person steer a model's dream in a browser, beside the real environment.

    The page is at ``http://127.0.0.1:8765`` until the program is interrupted (Ctrl+C). Only this
    machine reaches it. Needs ``pip install "dreamzoo[play]"``.

    Example:
        >>> from dreamzoo import play
        >>> play("none.zip")
        Traceback (most recent call last):
        FileNotFoundError: There is no file none.zip; save an agent with agent.save(path).

    :param model: an agent with a world model, or a file or folder that one was saved to
    :param env: the real environment: a name for :func:`dreamzoo.envs.make_env`, an environment, or
        a function that makes one. One that is made already serves one browser at a time. None:
        the dream is alone
    :param env_kwargs: of an environment that is named
    :param normalizer: how its observations are normalized; None: as a ``VecNormalize`` in it does,
        or the one beside the model's file, or that of a live agent's own environment
    :param port: of the page; 0: any that is free
    :param dreams: how many begin in the same state, at first
    :param seed: of the first episode
    :param fps: steps a second, at first
    :param browsers: that may play at the same time, each for itself
    :param cem: the planner that the page offers for continuous actions
    :param device: of a model that is loaded from a file
    :param trusted: also load files that run code, see ``dreamzoo.load``
    :raises FileNotFoundError: if there is no such file
    :raises ValueError: for a file that holds no agent, an agent without a world model, and an
        environment with other spaces than the agent's
    :raises OSError: if the port is in use
    """
    read_settings("play", _SETTINGS, locals())
    agent = load_model(model, device, trusted)
    make_env = None
    if env is not None:
        usual = None
        if normalizer is None and isinstance(model, str | pathlib.Path):
            usual = load_normalizer(model, trusted)
        make_env = maker(agent, env, env_kwargs, normalizer, usual)
    if isinstance(env, gym.Env | VecEnv):
        browsers = 1
    taken = listen(port)
    has_replay = _has_replay(agent)
    name = env if isinstance(env, str) else None
    title = {"agent": type(agent).__name__, "env": name}
    theater = Theater(
        lambda: PlaySession(
            agent, make_env, dreams=dreams, seed=seed, cem=cem, has_replay=has_replay
        ),
        title,
        browsers,
        fps,
    )
    try:
        theater.open()
        port = taken.getsockname()[1]
        server = make_server(theater, port)
        print(f"The dream is at http://{HOST}:{port} (Ctrl+C ends it).", flush=True)
        server.run(sockets=[taken])
    except KeyboardInterrupt:
        pass
    finally:
        theater.close()
        taken.close()


def _has_replay(agent: AgentWithModel) -> bool:
    """Return whether anything is recorded that dreams can begin in."""
    try:
        agent.replay_latents()
    except ValueError:
        return False
    return True
