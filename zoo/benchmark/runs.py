"""Training runs that are evaluated on the way and can be resumed."""

from collections.abc import Callable
from functools import partial
from typing import Any

import gymnasium as gym
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.logger import Logger, make_output_format
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.utils import LinearSchedule
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from dreamzoo.analysis.callbacks import SaveCallback, SeededEvalCallback
from dreamzoo.benchmark.run_config import (
    Run,
    continued,
    note_run,
    refuse_earlier_run,
    remove_earlier_run,
)
from dreamzoo.common.environments.normalizer import load_normalizer
from dreamzoo.common.exact_resume import ExactResume
from dreamzoo.common.ranked import Ranked
from dreamzoo.common.replay_agent import ReplayAgent
from dreamzoo.common.saved_algorithm import SavedAlgorithm
from dreamzoo.common.storage.agents import agent_class
from dreamzoo.common.storage.saves import MODEL, REPLAY_OF_SB3, newest
from dreamzoo.envs import make_env
from dreamzoo.nn.fast.ranks import Place, every, place, together
from dreamzoo.wrappers import StaggeredStart

#: Files of a run's logs.
LOG_FORMATS = ("csv", "tensorboard", "log")


def make_envs(run: Run) -> tuple[VecEnv, VecEnv]:
    """Make the environments of training and of evaluation."""
    maker = partial(make_env, run.env, **dict(run.env_kwargs))
    training = partial(_staggered, maker, run.stagger) if run.stagger else maker
    env = make_vec_env(training, n_envs=run.n_envs, seed=run.seed)
    eval_env = make_vec_env(maker, n_envs=run.eval_episodes)
    if not run.normalize:
        return env, eval_env
    env = _as_saved(run, env) if run.resume else VecNormalize(env, norm_reward=False)
    # EvalCallback hands it the statistics of training; it gathers none.
    return env, VecNormalize(eval_env, training=False, norm_reward=False)


def _staggered(maker: Callable[[], gym.Env], max_steps: int) -> gym.Env:
    return StaggeredStart(maker(), max_steps)


def _as_saved(run: Run, env: VecEnv) -> VecNormalize:
    normalizer = load_normalizer(run.out, trusted=True, training=True)
    if normalizer is None:
        raise ValueError(f"{newest(run.out)} holds no statistics of a VecNormalize.")
    normalizer.set_venv(env)
    return normalizer


def make_agent(run: Run, env: VecEnv) -> BaseAlgorithm:
    """Make the agent of a run, or load it as it was saved."""
    if not run.resume:
        return _build(run, env, seed=run.seed, device=run.device, verbose=1)
    kind = agent_class(run.agent)
    # Who resumes a run has begun it, and trusts its folder.
    last = newest(run.out)
    trust = {"trusted": True} if issubclass(kind, SavedAlgorithm) else {}
    model = kind.load(last / MODEL, env=env, device=run.device, **trust)  # type: ignore[arg-type]
    if isinstance(model, ExactResume):
        model.resume(run.out, trusted=True)
    elif isinstance(model, OffPolicyAlgorithm):
        model.load_replay_buffer(last / REPLAY_OF_SB3)
    return model


def make_untrained(run: Run, env: VecEnv) -> BaseAlgorithm:
    """
    Make the agent of a run without networks and replay: what it refuses, it refuses at once.

    :param run: what is to be trained
    :param env: its environment
    :raises ValueError: or others, of the agent, for settings and spaces that it does not take
    """
    return _build(run, env, _init_setup_model=False)


def _build(run: Run, env: VecEnv, **others: Any) -> BaseAlgorithm:
    kind = agent_class(run.agent)
    return kind(
        _policy_name(kind, run.policy),
        env,
        policy_kwargs=dict(run.policy_kwargs),
        **{name: _falling(name, value) for name, value in run.agent_kwargs},
        **others,
    )


def _falling(name: str, value: Any) -> Any:
    """
    Read "lin_0.001" as RL Zoo does: a rate that falls in a line to 0, where training ends.

    :raises ValueError: if it does not begin at a number
    """
    if not isinstance(value, str) or not value.startswith("lin_"):
        return value
    try:
        return LinearSchedule(float(value.removeprefix("lin_")), 0.0, 1.0)
    except ValueError:
        raise ValueError(
            f"{name}={value} must be lin_ and the number from which it falls to 0, as lin_0.001."
        ) from None


def _policy_name(kind: type[BaseAlgorithm], name: str) -> str:
    """Say "MlpPolicy" as the agent does: those of sb3-contrib that have an LSTM name it."""
    with_lstm = name.removesuffix("Policy") + "LstmPolicy"
    return with_lstm if with_lstm in kind.policy_aliases else name


def prepare(run: Run) -> Callable[[], BaseAlgorithm]:
    """
    Make everything that a training needs, so that what can be refused is refused at once.

    :param run: what to train
    :return: a function that trains the agent and returns it
    :raises ValueError: if there is no run to resume, or another one, or nothing of it is left to
        do; if a new run would overwrite another. The folder is then as it was
    :raises MemoryError: if the replay will not fit; the folder is as it was
    """
    if run.resume:
        run = continued(vars(run))
    elif not run.overwrite:
        refuse_earlier_run(run.out)
    env, eval_env = make_envs(run)
    model = make_agent(run, env)
    if run.resume and model.num_timesteps >= run.steps:
        raise ValueError(
            f"The run in {run.out} has made {model.num_timesteps} of {run.steps} steps. Give more "
            "(--steps) to train it further."
        )
    if isinstance(model, ReplayAgent) and model.replay_buffer is not None:
        model.replay_buffer.check_memory(run.steps - model.num_timesteps)  # learn says it too late
    here = _meet(model)
    if here.index == 0:
        _begin_folder(run, model)
    n_envs = run.n_envs * here.count
    evaluation = SeededEvalCallback(
        model._wrap_env(eval_env, verbose=0, monitor_wrapper=False),  # images as in training
        run.seed + 1_000,
        n_eval_episodes=run.eval_episodes,
        eval_freq=max(run.eval_every // n_envs, 1),
        log_path=str(run.out),
        deterministic=run.deterministic_eval,
    )
    if run.resume:
        evaluation.resume(model.num_timesteps, n_envs)
    return partial(
        model.learn,
        run.steps - model.num_timesteps,
        callback=[evaluation, SaveCallback(run.out, run.save_every)],
        reset_num_timesteps=not run.resume,
    )


def _meet(model: BaseAlgorithm) -> Place:
    """Wait until all ranks of a run have looked at its folder, before the first one changes it."""
    here = place()
    if here.count > 1:
        if not isinstance(model, Ranked):
            raise ValueError(
                f"{type(model).__name__} learns in one process, and this is one of {here.count} "
                "ranks. Start it without torchrun."
            )
        with together(model, model.device):
            every(True)
    return here


def _begin_folder(run: Run, model: BaseAlgorithm) -> None:
    """Make the folder of a run ready, and write the model's log there."""
    run.out.mkdir(parents=True, exist_ok=True)
    if not run.resume:
        remove_earlier_run(run.out)
    note_run(run)
    # A resumed run writes progress_<step>.csv beside the earlier files, not over them.
    suffix = f"_{model.num_timesteps}" if run.resume else ""
    formats = [make_output_format(name, str(run.out), suffix) for name in LOG_FORMATS]
    model.set_logger(Logger(str(run.out), formats))


def train(run: Run) -> BaseAlgorithm:
    """
    Train an agent, or train it further, and keep everything that is needed to resume.

    :param run: what to train
    :return: the trained agent
    :raises ValueError: see :func:`prepare`
    """
    return prepare(run)()
