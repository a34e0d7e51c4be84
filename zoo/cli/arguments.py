"""What the subcommands' command lines share."""

import argparse
import ast
import copy
import pickle
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import gymnasium
import torch as th

from dreamzoo.envs.errors import requires_extra


def make_parser(
    command: str, description: str | None, argument_default: Any = None
) -> argparse.ArgumentParser:
    """
    Make the parser of a subcommand.

    :param command: its name
    :param description: its module's documentation
    :param argument_default: of arguments that name none
    """
    return argparse.ArgumentParser(
        prog=f"dreamzoo {command}",
        description=description,
        formatter_class=_Help,
        argument_default=argument_default,
    )


class _Help(argparse.RawDescriptionHelpFormatter):
    """The text as it stands, and of every argument what it is by default, unless its help says."""

    def add_argument(self, action: argparse.Action) -> None:
        shown = copy.copy(action)
        said, default = action.help or "", action.default
        is_value = isinstance(default, str | int | float | Path) and not isinstance(default, bool)
        if is_value and default != argparse.SUPPRESS and "default: " not in said:
            shown.help = f"{said}{', ' if said else ''}default: {default}"
        super().add_argument(shown)


def parse_value(text: str) -> tuple[str, Any]:
    """
    Split ``key=value``; the value is a Python literal or else a string.

    :raises argparse.ArgumentTypeError: for anything else
    """
    key, sign, value = text.partition("=")
    if not sign or not key.isidentifier():
        raise argparse.ArgumentTypeError(f"expected key=value, not {text!r}")
    try:
        return key, ast.literal_eval(value)
    except (ValueError, TypeError, SyntaxError):
        return key, value


def whole(low: int) -> Callable[[str], int]:
    """
    Make the type of an argument that is a whole number.

    :param low: smallest one
    """

    def read(text: str) -> int:
        with suppress(ValueError):
            if (number := int(text)) >= low:
                return number
        raise argparse.ArgumentTypeError(f"must be a whole number of at least {low}, not {text!r}")

    return read


def seed(text: str) -> int:
    """Read a seed, which numpy takes from 0 to 2**32 - 1."""
    if (number := whole(0)(text)) < 2**32:
        return number
    raise argparse.ArgumentTypeError(f"must be less than 2**32, not {text!r}")


def picture(text: str) -> Path:
    """
    Read the name of a picture's file; one without a suffix gets ``.png``.

    :raises argparse.ArgumentTypeError: for a suffix of none that matplotlib writes
    """
    with requires_extra("video"):
        from matplotlib.figure import Figure  # few commands draw

    path = Path(text)
    path = path if path.suffix else path.with_suffix(".png")
    known = Figure().canvas.get_supported_filetypes()
    if path.suffix[1:].lower() not in known:
        raise argparse.ArgumentTypeError(f"must end in one of {', '.join(known)}, not {text!r}")
    return path


def film(text: str) -> Path:
    """
    Read the name of a film's file; one without a suffix gets ``.mp4``.

    :raises argparse.ArgumentTypeError: for another suffix
    """
    path = Path(text)
    path = path if path.suffix else path.with_suffix(".mp4")
    if path.suffix.lower() != ".mp4":
        raise argparse.ArgumentTypeError(f"must end in .mp4, not {text!r}")
    return path


def device_here(text: str) -> str:
    """
    Read the name of a device; ``auto`` is CUDA where there is one.

    :raises argparse.ArgumentTypeError: for a CUDA device that this machine lacks
    """
    device_anywhere(text)
    count = th.cuda.device_count()
    if text.startswith("cuda") and (th.device(text).index or 0) >= count:
        has = f"has {count} CUDA devices" if count else "has no CUDA device, or no torch for it"
        raise argparse.ArgumentTypeError(f"this machine {has}, not {text!r}: say auto, or cpu")
    return text


def device_anywhere(text: str) -> str:
    """
    Read the name of a device that another machine may have.

    :raises argparse.ArgumentTypeError: if there is no such device
    """
    try:
        if text != "auto":
            th.device(text)
    except RuntimeError:
        raise argparse.ArgumentTypeError(
            f"must be such as auto, cpu, cuda or cuda:0, not {text!r}"
        ) from None
    return text


def add_pairs(parser: Any, short: str, name: str, of: str, **settings: Any) -> None:
    """
    Let a command line give arguments as pairs of a name and a value.

    :param parser: of the command
    :param short: the option of one letter
    :param name: of the long option
    :param of: whose arguments they are, said by ``--help``
    :param settings: of the argument, such as its default
    """
    help_ = f"key=value ..., arguments of {of}"
    parser.add_argument(short, name, nargs="*", type=parse_value, help=help_, **settings)


def add_model(parser: argparse.ArgumentParser, name: str = "--model") -> None:
    """
    Let a command line name a saved agent.

    :param parser: of the command
    :param name: of the argument; ``model`` where it needs none
    """
    needed: dict[str, Any] = {"required": True} if name.startswith("-") else {}
    parser.add_argument(name, type=Path, help="file, or folder of dreamzoo train", **needed)
    parser.add_argument(
        "--trusted",
        action="store_true",
        help="also load files that run code: of SB3, of dreamzoo 0.1, with classes of their author",
    )


def add_replay(parser: Any, purpose: str = "saved by the agent's training") -> None:
    """
    Let a command line name a saved replay.

    :param parser: of the command, or a group of it
    :param purpose: said by ``--help``
    """
    parser.add_argument("--replay", type=Path, help=purpose)


def add_threads(parser: argparse.ArgumentParser) -> None:
    """
    Let a command line say how many threads compute; all that torch would take by itself.

    :param parser: of the command
    """
    parser.add_argument("--threads", type=whole(1), default=th.get_num_threads())


def load_replay(model: Any, path: Path, trusted: bool) -> None:
    """
    Give a model the replay that a command line names.

    :param model: agent
    :param path: of the replay, or folder of dreamzoo train
    :param trusted: also load one of dreamzoo 0.1
    :raises ValueError: for an agent that keeps none
    """
    if not hasattr(model, "load_replay_buffer"):
        raise ValueError(
            f"--replay: {type(model).__name__} learns from what it has just done and keeps no "
            "replay. Leave it out: dreams then begin where episodes do, and dreamzoo dream takes "
            "an environment to play in instead, with --env."
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of environments, which have no part in it
        model.load_replay_buffer(path, trusted=trusted)


#: What may be raised about what a user has said: by us, SB3, gymnasium, torch and the system.
#: Others, such as KeyError, are mistakes of a program, and keep their traceback.
_OF_USERS = (
    *(ValueError, TypeError, AssertionError, RuntimeError, OSError, ImportError, MemoryError),
    *(pickle.UnpicklingError, EOFError, gymnasium.error.Error),
)


@contextmanager
def plain_errors(trusting: str = "--trusted") -> Iterator[None]:
    """
    Print what a user asked for in vain as one line, without a traceback.

    Commands read, check and build inside of it. What runs for long stays outside: where that fails
    a traceback is needed.

    :param trusting: how the command is told what Python passes as ``trusted=True``
    """
    try:
        yield
    except _OF_USERS as error:
        said = " ".join(str(error).split()).replace("trusted=True", trusting)
        raise SystemExit(said or type(error).__name__) from error
