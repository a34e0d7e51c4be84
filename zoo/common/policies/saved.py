"""Policies whose files run no code."""

import inspect
import io
import pathlib
from typing import Any, ClassVar, TypeVar

import cloudpickle
import torch as th
from stable_baselines3.common.policies import BaseModel
from stable_baselines3.common.utils import ConstantSchedule, get_device

from dreamzoo.common.arguments import constructor
from dreamzoo.common.storage.agent_file import DATA, TRUSTED, Budget, read_tensors
from dreamzoo.common.storage.container import FileError, OtherFormat, naming, reading, writing
from dreamzoo.common.storage.files import replaced_file
from dreamzoo.common.storage.plain import NotPlainError, from_json, name_of, to_json

SelfSavedPolicy = TypeVar("SelfSavedPolicy", bound="SavedPolicy")

STATE = "state.pth"


class SavedPolicy(BaseModel):
    """
    Policies and other models of SB3, whose own ``save`` and ``load`` use JSON and tensors.

    Example:
        >>> from dreamzoo import DreamerV3
        >>> policy = DreamerV3("MlpPolicy", "CartPole-v1", policy_kwargs=dict(size="debug")).policy
        >>> policy.save("policy")
        >>> type(type(policy).load("policy")).__name__
        'MlpPolicy'

    :param args: of SB3's ``BaseModel``
    :param kwargs: of SB3's ``BaseModel``
    """

    #: What the constructor takes, those arguments included that it passes on.
    __signature__: ClassVar[inspect.Signature]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.__signature__ = constructor(cls)

    def save(self, path: str | pathlib.Path | io.BufferedIOBase) -> None:
        """
        Save the policy; an older file stays until the new one is complete.

        :param path: file, or where to create one; ``.zip`` is added where there is no suffix
        :raises OSError: names the file, and leaves no part of it behind
        """
        if not isinstance(path, str | pathlib.Path):
            self._write(path)
            return
        with replaced_file(path, "zip") as file:
            self._write(file)

    def _write(self, file: Any) -> None:
        plain, rest = {}, {}
        for name, value in self._get_constructor_parameters().items():
            if name == "lr_schedule":  # not needed for acting
                continue
            try:
                plain[name] = to_json(value, name)
            except NotPlainError:
                rest[name] = value
        skipped = {name: type(value).__name__ for name, value in rest.items()}
        about = {"policy": name_of(type(self)), TRUSTED: skipped}
        with writing(file, "policy", "", about) as writer:
            writer.write_json(DATA, plain)
            with writer.member(STATE) as member:
                th.save(self.state_dict(), member)
            for name, value in rest.items():
                writer.write(f"{TRUSTED}/{name}.pkl", cloudpickle.dumps(value))

    @classmethod
    def load(
        cls: type[SelfSavedPolicy],
        path: str | pathlib.Path | io.BufferedIOBase,
        device: th.device | str = "auto",
        trusted: bool = False,
    ) -> SelfSavedPolicy:
        """
        Load a policy.

        :param path: file
        :param device: ``auto``, ``cpu``, ``cuda``, ...
        :param trusted: also read what runs code: arguments that only code can say, and files of
            dreamzoo 0.1
        :return: the policy
        :raises ValueError: for files that are damaged, hold something else, or cannot be read
            without running code
        """
        try:
            with reading(path, "policy", "zip") as reader:
                data = {name: from_json(x) for name, x in reader.read_json(DATA).items()}
                skipped = reader.index[TRUSTED]
                if skipped and not trusted:
                    raise FileError(
                        f"{reader.label} holds {', '.join(skipped)} as code of its author, which "
                        "was not run. Pass trusted=True if you trust where it comes from."
                    )
                for name in skipped:
                    data[name] = cloudpickle.loads(reader.read(f"{TRUSTED}/{name}.pkl"))
                state = read_tensors(reader.read(STATE), device)
                label, size = reader.label, reader.size
        except OtherFormat:
            if not trusted:
                raise
            with naming(str(path)):
                return super().load(path, device)  # type: ignore[arg-type]
        with naming(label):
            if "lr_schedule" in cls.__signature__.parameters:
                data["lr_schedule"] = ConstantSchedule(0.0)  # acting needs none
            kind: Any = cls
            with Budget(size):
                policy = kind(**data)
            policy.load_state_dict(state)
            return policy.to(get_device(device))
