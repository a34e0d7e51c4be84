"""Training runs that are evaluated on the way and can be resumed."""

import json
import platform
import subprocess
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch as th
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.logger import Logger, make_output_format
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

import dreamzoo
from dreamzoo import AGENTS
from dreamzoo.analysis.callbacks import REPLAY, TRAINING, SaveCallback, SeededEvalCallback
from dreamzoo.analysis.sb3_agents import SB3_AGENTS
from dreamzoo.common.environments.normalizer import NORMALIZER
from dreamzoo.common.exact_resume import ExactResume
from dreamzoo.envs import make_env

#: Files of a run's logs.
LOG_FORMATS = ("csv", "tensorboard", "log")
#: What a resumed run cannot have different: nothing of it would fit.
FIXED = ("agent", "env", "env_kwargs", "n_envs", "normalize")

Pairs = list[tuple[str, Any]]


@dataclass
class Run:
    """
    What is trained in which environment, how it is evaluated, and where it is kept.

    :param agent: name in ``dreamzoo.AGENTS`` or of an agent of SB3 in lower case
    :param env: name for :func:`dreamzoo.envs.make_env`
    :param out: folder
    :param env_kwargs: of the function that makes the environment
    :param policy: name of the policy
    :param policy_kwargs: of the policy
    :param agent_kwargs: of the agent's constructor
    :param normalize: give observations mean 0 and variance 1 with ``VecNormalize``
    :param n_envs: environments of training
    :param steps: of all environments together
    :param eval_every: steps between two evaluations
    :param eval_episodes: of each
    :param deterministic_eval: evaluate most likely actions instead of sampled ones
    :param save_every: steps between two saves
    :param seed: of training; evaluation has another
    :param device: of the agent
    :param threads: of torch, for the record
    :param published: names of a paper's variants, for the record; None: the settings are not those
        of a paper
    :param resume: from what lies in the folder
    """

    agent: str
    env: str
    out: Path
    env_kwargs: Pairs = field(default_factory=list)
    policy: str = "MlpPolicy"
    policy_kwargs: Pairs = field(default_factory=list)
    agent_kwargs: Pairs = field(default_factory=list)
    normalize: bool = False
    n_envs: int = 1
    steps: int = 24_000
    eval_every: int = 2_000
    eval_episodes: int = 10
    deterministic_eval: bool = False
    save_every: int = 2_000
    seed: int = 0
    device: str = "auto"
    threads: int = 1
    published: list[str] | None = None
    resume: bool = False


def describe(run: Run) -> dict[str, Any]:
    """Record what runs where: arguments, versions, machine and commit."""
    command = ["git", "describe", "--always", "--dirty"]
    commit = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    return {
        "args": {k: str(v) if isinstance(v, Path) else v for k, v in asdict(run).items()},
        "commit": commit,
        "versions": {"dreamzoo": dreamzoo.__version__, "torch": th.__version__},
        "machine": f"{platform.machine()}, {platform.system()}, {run.threads} threads",
    }


def check_resumed(run: Run) -> None:
    """
    Refuse to resume a run with other environments.

    :raises ValueError: names what differs
    """
    path = run.out / "config.json"
    if not path.exists():
        raise ValueError(f"There is no run in {run.out} to go on from.")
    before = json.loads(path.read_text())[-1]["args"]
    now = json.loads(json.dumps(describe(run)["args"]))
    for name in FIXED:
        if before.get(name, now[name]) != now[name]:
            raise ValueError(
                f"The run in {run.out} has {name}={before[name]!r}; it cannot go on with "
                f"{now[name]!r}."
            )


def note_run(run: Run) -> None:
    """Write config.json: one entry for the start and one for every time it was resumed."""
    path = run.out / "config.json"
    earlier = json.loads(path.read_text()) if run.resume else []
    path.write_text(json.dumps([*earlier, describe(run)], indent=2) + "\n")


def make_envs(run: Run) -> tuple[VecEnv, VecEnv]:
    """Make the environments of training and of evaluation."""
    maker = partial(make_env, run.env, **dict(run.env_kwargs))
    env = make_vec_env(maker, n_envs=run.n_envs, seed=run.seed)
    eval_env = make_vec_env(maker, n_envs=run.eval_episodes)
    if not run.normalize:
        return env, eval_env
    if run.resume:
        env = VecNormalize.load(str(run.out / NORMALIZER), env)
    else:
        env = VecNormalize(env, norm_reward=False)
    # EvalCallback hands it the statistics of training; it gathers none.
    return env, VecNormalize(eval_env, training=False, norm_reward=False)


def make_agent(run: Run, env: VecEnv) -> BaseAlgorithm:
    """Make the agent of a run, or load it as it was saved."""
    kind = (AGENTS | SB3_AGENTS)[run.agent]
    if not run.resume:
        return kind(
            run.policy,
            env,
            policy_kwargs=dict(run.policy_kwargs),
            seed=run.seed,
            device=run.device,
            verbose=1,
            **dict(run.agent_kwargs),
        )
    model = kind.load(run.out / "model.zip", env=env, device=run.device)
    if isinstance(model, OffPolicyAlgorithm):
        model.load_replay_buffer(run.out / REPLAY)
    elif isinstance(model, ExactResume):
        model.load_training_state(run.out / TRAINING)
    return model


def train(run: Run) -> BaseAlgorithm:
    """
    Train an agent, or train it further, and keep everything that is needed to resume.

    :param run: what to train
    :return: the trained agent
    :raises ValueError: if there is no run to resume, or one with other environments
    """
    if run.resume:
        check_resumed(run)
    run.out.mkdir(parents=True, exist_ok=True)
    note_run(run)
    env, eval_env = make_envs(run)
    model = make_agent(run, env)
    # A resumed run writes progress_<step>.csv beside the earlier files, not over them.
    suffix = f"_{model.num_timesteps}" if run.resume else ""
    formats = [make_output_format(name, str(run.out), suffix) for name in LOG_FORMATS]
    model.set_logger(Logger(str(run.out), formats))
    evaluation = SeededEvalCallback(
        eval_env,
        run.seed + 1_000,
        n_eval_episodes=run.eval_episodes,
        eval_freq=max(run.eval_every // run.n_envs, 1),
        log_path=str(run.out),
        deterministic=run.deterministic_eval,
    )
    if run.resume:
        evaluation.resume(model.num_timesteps, run.n_envs)
    return model.learn(
        run.steps - model.num_timesteps,
        callback=[evaluation, SaveCallback(run.out, run.save_every)],
        reset_num_timesteps=not run.resume,
    )
