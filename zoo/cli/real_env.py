"""The real environment of a command that plays a saved agent."""

import argparse
from functools import partial
from typing import Any

from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecEnv

from dreamzoo.analysis.evaluation import check_spaces
from dreamzoo.cli.arguments import add_pairs
from dreamzoo.common.environments.normalizer import as_in_training
from dreamzoo.envs import make_env


def add_env(parser: argparse.ArgumentParser, into: Any = None, **settings: Any) -> None:
    """
    Let a command line name an environment, as ``--env`` and ``--env-kwargs``.

    :param parser: of the command
    :param into: group of the parser that ``--env`` belongs to; None: to none
    :param settings: of the argument ``--env``, such as its default
    """
    said = {"help": "see dreamzoo.envs.make_env", **settings}
    (parser if into is None else into).add_argument("--env", **said)
    add_pairs(parser, "-e", "--env-kwargs", "the environment", default=[])


def parse_args(parser: argparse.ArgumentParser, argv: list[str] | None) -> argparse.Namespace:
    """
    Read the command line of a command that can do without an environment.

    :param parser: of the command, with what :func:`add_env` lets it say
    :param argv: None: that of the process
    """
    args = parser.parse_args(argv)
    if args.env is None and args.env_kwargs:
        parser.error("argument -e/--env-kwargs: of an environment, which --env has to name")
    return args


def make_real_env(args: argparse.Namespace, model: Any, n_envs: int) -> VecEnv:
    """
    Make the environment that a command line names, observed as the model was trained.

    :param args: with what :func:`add_env` and :func:`dreamzoo.cli.arguments.add_model` let it say,
        and a seed
    :param model: that is there
    :param n_envs: how many at the same time
    :raises ValueError: for an environment with other spaces than the model's
    """
    maker = partial(make_env, args.env, **dict(args.env_kwargs))
    env = make_vec_env(maker, n_envs=n_envs, seed=args.seed)
    env = as_in_training(env, args.model, args.trusted)
    check_spaces(model, env)
    return env
