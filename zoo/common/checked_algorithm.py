"""Algorithms of SB3 that look at their settings before they work with them."""

import inspect
import io
import pathlib
import warnings
from collections.abc import Mapping
from typing import Any, ClassVar, TypeVar

import torch as th
from stable_baselines3.common.type_aliases import GymEnv, Schedule
from stable_baselines3.common.utils import configure_logger

from dreamzoo.common.arguments import constructor, documented, refuse_unknown
from dreamzoo.common.saved_algorithm import SavedAlgorithm
from dreamzoo.common.settings import Folder, Rate, check_rate
from dreamzoo.common.storage.agent_file import saved_policy_kwargs
from dreamzoo.nn.settings import Arguments, Setting, Whole, read_settings

SelfChecked = TypeVar("SelfChecked", bound="CheckedAlgorithm")


class CheckedAlgorithm(SavedAlgorithm):
    """
    Algorithm whose settings are checked, wherever they come from.

    That is the constructor, ``load``, or an assignment later. Subclasses call
    :meth:`_check_settings` where they begin to work: to build, to learn, to update.
    """

    #: What settings may be.
    settings: ClassVar[Mapping[str, Setting]] = {
        "learning_rate": Rate(),
        "policy_kwargs": Arguments(),
        "seed": Whole(0, 2**32 - 1, none=True),
        "_stats_window_size": Whole(1),
        "verbose": Whole(0),
        "tensorboard_log": Folder(),
    }

    #: What the constructor takes, those arguments included that it passes on.
    __signature__: ClassVar[inspect.Signature]

    #: What the schedule was made of; ``learning_rate`` may be changed after that.
    _scheduled_rate: float | Schedule | None = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Let an agent's signature and documentation show the arguments that it passes on."""
        super().__init_subclass__(**kwargs)
        cls.__signature__ = constructor(cls)
        if "__doc__" in vars(cls):
            cls.__doc__ = documented(cls.__doc__, cls.__signature__.parameters)

    @classmethod
    def load(
        cls: type[SelfChecked],
        path: str | pathlib.Path | io.BufferedIOBase,
        env: GymEnv | None = None,
        device: th.device | str = "auto",
        custom_objects: dict[str, Any] | None = None,
        print_system_info: bool = False,
        force_reset: bool = True,
        trusted: bool = False,
        **kwargs: Any,
    ) -> SelfChecked:
        """
        Load an agent, as SB3 does; settings are checked as the constructor checks them.

        :param path: file, or folder of a :class:`SaveCallback`, whose last save counts
        :param env: environment to go on in; None if the agent shall only act
        :param device: ``auto``, ``cpu``, ``cuda``, ...
        :param custom_objects: what stands for objects of the file that cannot be read
        :param print_system_info: show versions, saved and installed
        :param force_reset: begin new episodes
        :param trusted: also read what runs code: lambdas, classes of the author's own, and files of
            dreamzoo 0.1. Without it a warning names what was left out
        :param kwargs: settings to change, by their names in the constructor
        :return: the agent
        :raises TypeError: for settings that the constructor does not know
        :raises ValueError: for settings that make no sense, networks other than the saved ones, and
            files that are damaged or cannot be read without running code
        """
        known = constructor(cls).parameters
        refuse_unknown(f"{cls.__name__}.load()", kwargs, known, known, "Nothing was loaded")
        if "policy" in kwargs:
            raise ValueError(
                f"{cls.__name__}.load() got policy={kwargs['policy']!r}; a file holds networks of "
                "one kind of policy. Build a new agent for another. Nothing was loaded."
            )
        if "stats_window_size" in kwargs:  # the one that SB3 keeps under another name
            kwargs["_stats_window_size"] = kwargs.pop("stats_window_size")
        given = (custom_objects or {}).get("policy_kwargs")
        if given is not None and (saved := saved_policy_kwargs(path)) not in (None, given):
            raise ValueError(
                f"custom_objects has the policy kwargs {given}, and the networks in {path} were "
                f"made with {saved}. Build a new agent for networks of another size."
            )
        said = {name: setting for name, setting in cls.settings.items() if name in kwargs}
        # Before the file is read, whose fault it is not.
        kwargs |= read_settings(f"{cls.__name__}.load()", said, kwargs)
        return super().load(
            path, env, device, custom_objects, print_system_info, force_reset, trusted, **kwargs
        )

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "_scheduled_rate"]

    def _check_settings(self) -> None:
        """Refuse settings that make no sense, and follow those that were changed since."""
        vars(self).update(read_settings(type(self).__name__, self.settings, vars(self)))
        if self._scheduled_rate not in (None, self.learning_rate):
            self._setup_lr_schedule()

    def _need_spaces(self) -> None:
        """
        Refuse to build networks for nothing.

        :raises ValueError: without an environment, or what a file says of one
        """
        if getattr(self, "observation_space", None) is None:
            name = type(self).__name__
            raise ValueError(
                f"{name} needs an environment, whose spaces its networks fit; got env=None. A "
                f"saved agent needs none: {name}.load(path)."
            )

    def _setup_lr_schedule(self) -> None:
        super()._setup_lr_schedule()
        self._scheduled_rate = self.learning_rate
        check_rate(type(self).__name__, self.lr_schedule(1.0), 1.0)

    def _update_learning_rate(
        self, optimizers: list[th.optim.Optimizer] | th.optim.Optimizer
    ) -> None:
        progress = self._current_progress_remaining
        check_rate(type(self).__name__, self.lr_schedule(progress), progress)
        super()._update_learning_rate(optimizers)

    def _need_logger(self) -> None:
        """Make the logger that ``learn`` would make, if there is none yet."""
        if getattr(self, "_logger", None) is None:
            name = type(self).__name__
            self._logger = configure_logger(self.verbose, self.tensorboard_log, name)

    def dump_logs(self, *args: Any) -> None:
        """
        Write the log, as SB3 does; where that fails, training goes on without it.

        :param args: of the algorithm's own
        """
        try:
            super().dump_logs(*args)
        except OSError as error:
            warnings.warn(
                f"The log in {self.logger.get_dir()} cannot be written: {error}. Training goes on; "
                "make room for the next lines.",
                stacklevel=2,
            )
