"""
Run a command of RL Zoo with the agents of dreamzoo among its own.

    dreamzoo rl_zoo train --algo dreamer_v3 --env CartPole-v1
    dreamzoo rl_zoo enjoy --algo dreamer_v3 --env CartPole-v1 --folder logs
    dreamzoo rl_zoo record_video --algo dreamer_v3 --env CartPole-v1 --folder logs
    dreamzoo rl_zoo plot_train --algo dreamer_v3 --env CartPole-v1 --exp-folder logs
    dreamzoo rl_zoo train --algo dreamer_v3 --env CartPole-v1 --optimize-hyperparameters

What follows its name is the Zoo's own, see dreamzoo rl_zoo COMMAND --help. Where train is given
no settings (--conf-file), it takes those of dreamzoo.hyperparams.
"""

import argparse
import importlib
import runpy
import shutil
import sys
from contextlib import suppress
from itertools import pairwise
from typing import Any

from dreamzoo import AGENTS
from dreamzoo.benchmark.run_config import default_policy
from dreamzoo.cli.arguments import make_parser, plain_errors
from dreamzoo.envs.errors import find_name
from dreamzoo.rl_zoo.hub import mend_hub
from dreamzoo.rl_zoo.registration import register

#: Modules of RL Zoo with a function of the command's name.
_FUNCTIONS = {
    "train": "rl_zoo3.train",
    "enjoy": "rl_zoo3.enjoy",
    "plot_train": "rl_zoo3.plots.plot_train",
    "all_plots": "rl_zoo3.plots.all_plots",
    "plot_from_file": "rl_zoo3.plots.plot_from_file",
}
#: Its scripts. record_training is another, but starts processes that know no agents of ours.
_SCRIPTS = ("record_video", "push_to_hub", "load_from_hub")


def main(argv: list[str] | None = None) -> None:
    """
    Run a command of RL Zoo.

    :param argv: its name and its arguments; None: those of the process
    """
    parser = make_parser("rl_zoo", __doc__)
    parser.add_argument("command", choices=[*_FUNCTIONS, *_SCRIPTS], help="of RL Zoo")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="of the command")
    args = parser.parse_args(argv)
    with plain_errors():
        register()
    _name_as_listed(args.arguments)
    if args.command == "train":
        args.arguments += _settings(args.arguments)
        _search_without_a_run()
    elif args.command.endswith("_hub"):
        mend_hub()
    before, sys.argv = sys.argv, [f"dreamzoo rl_zoo {args.command}", *args.arguments]
    try:
        if args.command in _FUNCTIONS:
            getattr(importlib.import_module(_FUNCTIONS[args.command]), args.command)()
        else:
            runpy.run_module(f"rl_zoo3.{args.command}", run_name="__main__")
    finally:
        sys.argv = before


def _name_as_listed(arguments: list[str]) -> None:
    """
    Write an agent's name as it is listed, in place.

    Models on the Hub are called by their class, of which the Zoo makes ``dreamerv3``.
    """
    for i, (flag, argument) in enumerate(pairwise(["", *arguments])):
        sign = "--algo=" if argument.startswith("--algo=") else ""
        if sign or flag == "--algo":
            with suppress(ValueError):  # the Zoo's own, or none
                name = find_name("agent", argument.removeprefix(sign), AGENTS)
                arguments[i] = f"{sign}{name}"


def _search_without_a_run() -> None:
    """
    Let a search leave no folder of a run.

    The Zoo makes one, puts no model into it, and takes it for the newest run from then on.
    """
    train = importlib.import_module("rl_zoo3.train")
    manager: Any = importlib.import_module("rl_zoo3.exp_manager").ExperimentManager

    class Manager(manager):
        def setup_experiment(self) -> Any:
            made = super().setup_experiment()
            if made is None:
                shutil.rmtree(self.save_path, ignore_errors=True)
            return made

    train.__dict__["ExperimentManager"] = Manager


def _settings(arguments: list[str]) -> list[str]:
    """
    Say where the settings of an agent of ours are, and what all settings say of its environment.

    Where none are known of it, also which policy reads it.

    The Zoo itself makes environments for evaluations and videos with those arguments only that
    stand in the command line.
    """
    from rl_zoo3.utils import StoreDict  # evaluates what it stores, as the Zoo is about to

    parser = argparse.ArgumentParser(add_help=False, conflict_handler="resolve")
    parser.add_argument("--algo")
    parser.add_argument("--env", default="CartPole-v1")
    parser.add_argument("-conf", "--conf-file")
    parser.add_argument("--env-kwargs", nargs="+", action=StoreDict)
    parser.add_argument("-params", "--hyperparams", nargs="+", action=StoreDict, default={})
    given, _ = parser.parse_known_args(arguments)
    if given.algo not in AGENTS or given.conf_file is not None:
        return []
    module = f"dreamzoo.hyperparams.{given.algo}"
    known = importlib.import_module(module).hyperparams
    settings = {**known.get(given.env, {}), **given.hyperparams}
    env_kwargs = settings.get("env_kwargs") or {}
    added = ["--conf-file", module]
    said = {**env_kwargs, **(given.env_kwargs or {})}
    policy = default_policy(given.algo, given.env, list(said.items()))
    if given.env not in known and "policy" not in settings and policy != "MlpPolicy":
        parser.add_argument("-params", "--hyperparams", nargs="+", default=[])  # as they are typed
        words = parser.parse_known_args(arguments)[0].hyperparams
        added += ["--hyperparams", *words, f"policy:{policy!r}"]
    if env_kwargs and given.env_kwargs is None:
        added += ["--env-kwargs", *(f"{key}:{value!r}" for key, value in env_kwargs.items())]
    return added
