"""Algorithms of SB3 whose files run no code, and name the moment at which they were saved."""

import io
import pathlib
import uuid
import warnings
from collections.abc import Iterable
from typing import Any, TypeVar

import torch as th
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.save_util import recursive_setattr
from stable_baselines3.common.type_aliases import GymEnv, TensorDict
from stable_baselines3.common.utils import check_for_correct_spaces, get_system_info

from dreamzoo.common.storage.agent_file import (
    Budget,
    StoredAgent,
    check_parameters,
    known_attributes,
    read_agent,
    read_parameters,
    system_info,
    untrusted,
    write_agent,
)
from dreamzoo.common.storage.container import FileError, OtherFormat, naming
from dreamzoo.common.storage.files import replaced_file
from dreamzoo.common.storage.plain import name_of
from dreamzoo.common.storage.saves import MODEL, within
from dreamzoo.nn.fast import ranks

SelfSaved = TypeVar("SelfSaved", bound="SavedAlgorithm")


class SavedAlgorithm(BaseAlgorithm):
    """
    Saves what SB3 saves, and loads it without running code, unless it is told to trust a file.

    :param args: of the algorithm
    :param kwargs: of the algorithm
    """

    #: The state that was saved or loaded last, by steps and updates, and its name.
    _named: tuple[tuple[int, int], str] | None = None

    def _excluded_save_params(self) -> list[str]:
        # The schedule is made of the learning rate.
        return [*super()._excluded_save_params(), "_named", "lr_schedule"]

    # ------------------------------------------------------------------ the moment

    def _moment(self) -> str:
        """Name the state of now; the name stays as long as nothing is experienced or learned."""
        now = self._progress()
        if self._named is None or self._named[0] != now:
            self._named = now, uuid.uuid4().hex
        return self._named[1]

    def share_moment(self) -> None:
        """Name the state of now as the first rank does: their files belong to one save."""
        self._named = self._progress(), ranks.told(self._moment())[0]

    def _is_of(self, moment: str) -> bool:
        """Return whether the agent is as it was saved, or loaded, under a name."""
        return self._named == (self._progress(), moment)

    def _progress(self) -> tuple[int, int]:
        return self.num_timesteps, getattr(self, "_n_updates", 0)

    # ------------------------------------------------------------------ the file

    def save(
        self,
        path: str | pathlib.Path | io.BufferedIOBase,
        exclude: Iterable[str] | None = None,
        include: Iterable[str] | None = None,
    ) -> None:
        """
        Save the agent, as SB3 does; an older file stays until the new one is complete.

        What cannot be written without code, such as lambdas and classes of your own, is in the
        file, too, but read only by ``load(..., trusted=True)``.

        :param path: file, or where to create one
        :param exclude: attributes to leave out
        :param include: attributes to keep that are usually left out
        :raises OSError: names the file, and leaves no part of it behind
        """
        names, variables = self._get_torch_save_params()
        left_out = {*self._excluded_save_params(), *(exclude or ())} - {*(include or ())}
        left_out |= {name.split(".")[0] for name in (*names, *variables)}
        data = {name: value for name, value in vars(self).items() if name not in left_out}
        if not isinstance(path, str | pathlib.Path):
            write_agent(path, self, self._moment(), data, variables)
            return
        with replaced_file(path, "zip") as file:
            write_agent(file, self, self._moment(), data, variables)

    @classmethod
    def load(
        cls: type[SelfSaved],
        path: str | pathlib.Path | io.BufferedIOBase,
        env: GymEnv | None = None,
        device: th.device | str = "auto",
        custom_objects: dict[str, Any] | None = None,
        print_system_info: bool = False,
        force_reset: bool = True,
        trusted: bool = False,
        **kwargs: Any,
    ) -> SelfSaved:
        """
        Load an agent, as SB3 does.

        :param path: file, or folder of a :class:`SaveCallback`, whose last save counts
        :param env: environment to go on in; None if the agent shall only act
        :param device: ``auto``, ``cpu``, ``cuda``, ...
        :param custom_objects: what stands for objects of the file
        :param print_system_info: show versions, saved and installed
        :param force_reset: begin new episodes
        :param trusted: also read what runs code: lambdas, classes of the author's own, and files of
            dreamzoo 0.1. Without it a warning names what was left out
        :param kwargs: attributes to change; of ``policy_kwargs`` what no parameter depends on, as
            the rows of MERLIN's memory
        :return: the agent
        :raises ValueError: for files that are damaged or cannot be read without running code, and
            for networks other than the saved ones
        """
        try:
            stored = read_agent(path, device, custom_objects, trusted)
        except OtherFormat:
            if not trusted:
                raise
            path = within(path, MODEL)
            with naming(str(path)):
                arguments = path, env, device, custom_objects, print_system_info, force_reset
                model = super().load(*arguments, **kwargs)
            vars(model).pop("_agent_class", None)  # what these files said; now it is the index
            return model
        cls._refuse_another_agent(stored)
        if print_system_info:
            print("== CURRENT SYSTEM INFO ==")
            get_system_info()
            print("== SAVED MODEL SYSTEM INFO ==")
            print(system_info(path))
        data = stored.data
        saved, given = data["policy_kwargs"], kwargs.get("policy_kwargs")
        if "policy_kwargs" in kwargs and not (
            isinstance(given, dict) and cls._of_networks(given) == cls._of_networks(saved)
        ):
            raise ValueError(
                f"The policy kwargs {given} are not those of the networks in {stored.label}: "
                f"{saved}. Build a new agent for other networks."
            )
        if env is not None:
            env = cls._wrap_env(env, data.get("verbose", 0))
            check_for_correct_spaces(env, data["observation_space"], data["action_space"])
            data["n_envs"] = env.num_envs
            if force_reset:
                data["_last_obs"] = None
        with naming(stored.label):
            model = cls._built(stored, env, device, kwargs)
        model._named = model._progress(), stored.moment
        if stored.skipped:
            warnings.warn(untrusted(stored.label, stored.skipped), stacklevel=3)
        return model

    @classmethod
    def _of_networks(cls, policy_kwargs: dict[str, Any]) -> dict[str, Any]:
        """Leave out the arguments of a policy that change none of its parameters."""
        free = getattr(getattr(cls, "policy_base", None), "free_kwargs", ())
        return {name: value for name, value in policy_kwargs.items() if name not in free}

    @classmethod
    def _refuse_another_agent(cls, stored: StoredAgent) -> None:
        """Refuse a file of another agent of dreamzoo, unless this one is derived from it."""
        from dreamzoo import AGENTS  # the agents import this module

        own = list(AGENTS.values())
        saved = next((kind for kind in own if name_of(kind) == stored.agent), cls)
        if saved is not cls and (cls in own or not issubclass(cls, saved)):
            raise FileError(
                f"{stored.label} holds a {saved.__name__}, not a {cls.__name__}. Load it with "
                "dreamzoo.load(path), which returns whatever agent a file holds."
            )

    @classmethod
    def _built(
        cls: type[SelfSaved],
        stored: StoredAgent,
        env: GymEnv | None,
        device: th.device | str,
        kwargs: dict[str, Any],
    ) -> SelfSaved:
        """Build the agent of a file."""
        data = dict(stored.data)
        policy: Any = data.pop("policy_class")
        kind: Any = cls
        model = kind(policy, env, device=device, _init_setup_model=False)
        given = known_attributes(model)
        if strange := sorted(stored.plain - given):
            raise FileError(
                f"{stored.label} holds {', '.join(strange)}, which a {cls.__name__} does not have. "
                "It is of another version, another agent, or not what dreamzoo has written."
            )
        if not 1 <= data.get("n_envs", 1) <= 2**20:
            raise ValueError(f"it is of {data['n_envs']} environments")
        vars(model).update(data)
        vars(model).update(kwargs)
        with Budget(stored.nbytes):
            model._setup_model()
        tensors = stored.parameters
        check_parameters(model, tensors)
        model.set_parameters(tensors.params, exact_match=True, device=device)
        for name, value in tensors.variables.items():
            if value is not None:  # directly, since an optimizer may know it
                recursive_setattr(model, f"{name}.data", value.data)
        if model.use_sde:
            model.policy.reset_noise()
        for name in list(stored.skipped):  # what the constructor does not give, but the set-up
            if name in kwargs or (name not in given and name in vars(model)):
                del stored.skipped[name]
        return model

    def set_parameters(
        self,
        load_path_or_dict: str | pathlib.Path | io.BufferedIOBase | TensorDict,
        exact_match: bool = True,
        device: th.device | str = "auto",
    ) -> None:
        """
        Load parameters, as SB3 does. Of a file only the tensors are read.

        :param load_path_or_dict: file of an agent, or what :meth:`get_parameters` returns
        :param exact_match: refuse others than all that the agent has
        :param device: of the tensors
        """
        if isinstance(load_path_or_dict, dict):
            super().set_parameters(load_path_or_dict, exact_match, device)
            return
        stored = read_parameters(load_path_or_dict, device)
        with naming(stored.label):
            check_parameters(self, stored)
            super().set_parameters(stored.params, exact_match, device)
