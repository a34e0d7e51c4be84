"""An agent in a file: JSON for its settings and counters, tensors for its networks."""

import io
import zipfile
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, NamedTuple, get_origin

import cloudpickle
import stable_baselines3
import torch as th
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.utils import get_device, get_system_info
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

from dreamzoo.common.storage.container import (
    FileError,
    OtherFormat,
    Reader,
    Source,
    reading,
    writing,
)
from dreamzoo.common.storage.plain import NotPlainError, from_json, name_of, to_json
from dreamzoo.common.storage.saves import MODEL, within

#: Members as SB3 names them, and a folder of members that only trusted files are read from.
DATA, VARIABLES, TRUSTED = "data", "pytorch_variables.pth", "trusted"
VERSION_OF_SB3, SYSTEM = "_stable_baselines3_version", "system_info.txt"
#: What an agent cannot be built without.
NEEDED = ("policy_class", "policy_kwargs", "observation_space", "action_space")
#: Bytes that building an agent may take beside what its file holds.
_ROOM = 2**26
#: Bytes that a tensor takes at least, with the module around it.
_TENSOR = 2**12


class Parameters(NamedTuple):
    """
    The tensors that a file holds of an agent.

    :param label: the file
    :param params: states of networks and optimizers
    :param variables: other tensors
    """

    label: str
    params: dict[str, Any]
    variables: dict[str, Any]


class StoredAgent(NamedTuple):
    """
    What a file holds of an agent.

    :param label: the file
    :param agent: class, by module and name
    :param moment: at which it was saved
    :param data: attributes
    :param plain: names of those that nobody has to trust
    :param skipped: types of attributes that only a trusted file would give, by name
    :param parameters: its tensors
    :param nbytes: size of the file
    """

    label: str
    agent: str
    moment: str
    data: dict[str, Any]
    plain: set[str]
    skipped: dict[str, str]
    parameters: Parameters
    nbytes: int


def write_agent(
    file: Any, agent: BaseAlgorithm, moment: str, data: Mapping[str, Any], variables: Iterable[str]
) -> None:
    """
    Write an agent.

    :param file: open for writing
    :param agent: to save
    :param moment: name of this state
    :param data: its attributes, without networks
    :param variables: names of other tensors
    """
    known, plain, rest = known_attributes(agent), {}, {}
    for name, value in data.items():
        try:
            if name not in known:
                raise NotPlainError(name)
            plain[name] = to_json(value, name)
        except NotPlainError:
            rest[name] = value
    for alias, policy in agent.policy_aliases.items():
        if data.get("policy_class") is policy:
            plain["policy_class"] = alias
            rest.pop("policy_class", None)
    about = {
        "agent": name_of(type(agent)),
        TRUSTED: {name: type(value).__name__ for name, value in rest.items()},
    }
    with writing(file, "agent", moment, about) as writer:
        writer.write_json(DATA, plain)
        with writer.member(VARIABLES) as member:
            th.save({name: _attribute(agent, name) for name in variables}, member)
        for name, state in agent.get_parameters().items():
            with writer.member(f"{name}.pth") as member:
                th.save(state, member)
        for name, value in rest.items():
            writer.write(f"{TRUSTED}/{name}.pkl", cloudpickle.dumps(value))
        writer.write(VERSION_OF_SB3, stable_baselines3.__version__.encode())
        writer.write(SYSTEM, get_system_info(print_info=False)[1].encode())


def _attribute(agent: Any, name: str) -> Any:
    for part in name.split("."):
        agent = getattr(agent, part)
    return agent


def known_attributes(agent: BaseAlgorithm) -> set[str]:
    """List what a file may say of an agent: what its constructor gives it, and class defaults."""
    kind: Any = type(agent)
    fresh = kind(agent.policy_class, None, device="cpu", _init_setup_model=False)
    defaults = {
        name
        for base in kind.__mro__
        for name, value in vars(base).items()
        if name[:2] != "__" and not callable(value) and not hasattr(value, "__get__")
    }
    of_classes = {
        name
        for base in kind.__mro__
        for name, what in vars(base).get("__annotations__", {}).items()
        if get_origin(what) is ClassVar or what is ClassVar
    }
    defaults -= of_classes
    return {*vars(fresh), *defaults, *NEEDED, "n_envs"}.difference(agent._excluded_save_params())


def read_agent(
    path: Source,
    device: th.device | str,
    custom_objects: Mapping[str, Any] | None,
    trusted: bool,
) -> StoredAgent:
    """
    Read an agent.

    :param path: file, folder of a :class:`SaveCallback`, or stream
    :param device: where tensors go
    :param custom_objects: what to take instead of what the file holds
    :param trusted: also read what runs code
    :raises FileError: if it cannot be read
    """
    given = custom_objects or {}
    with reading(within(path, MODEL), "agent", "zip") as reader:
        plain, others = reader.read_json(DATA), reader.index[TRUSTED]
        data = {name: given[name] if name in given else from_json(x) for name, x in plain.items()}
        skipped = {}
        for name, kind in others.items():
            if name in given:
                data[name] = given[name]
            elif trusted:
                data[name] = cloudpickle.loads(reader.read(f"{TRUSTED}/{name}.pkl"))
            else:
                skipped[name] = str(kind)
        for name in NEEDED:
            if name in skipped:
                raise FileError(untrusted(reader.label, {name: skipped[name]}))
            if name not in data:
                raise FileError(f"{reader.label} lacks {name}: it is no agent.")
        return StoredAgent(
            reader.label,
            str(reader.index["agent"]),
            reader.moment,
            data,
            plain.keys() - given.keys(),
            skipped,
            _parameters(reader, device),
            reader.size,
        )


def read_parameters(path: Source, device: th.device | str) -> Parameters:
    """
    Read only the tensors of an agent, whatever else its file holds.

    :param path: see :func:`read_agent`
    :param device: where they go
    :raises FileError: if they cannot be read
    """
    with reading(within(path, MODEL), "agent", "zip") as reader:
        return _parameters(reader, device)


def _parameters(reader: Reader, device: th.device | str) -> Parameters:
    params, variables = {}, {}
    for name in reader.names:
        if name == VARIABLES:
            variables = read_tensors(reader.read(name), device)
        elif name.endswith(".pth"):
            params[name.removesuffix(".pth")] = read_tensors(reader.read(name), device)
    return Parameters(reader.label, params, variables)


def untrusted(label: str, what: Mapping[str, str]) -> str:
    """
    Say what was not read of a file that is not trusted, and how it is.

    :param label: the file
    :param what: types of attributes by name
    """
    named = ", ".join(f"{name} ({kind})" for name, kind in what.items())
    names = ", ".join(f"{name!r}: ..." for name in what)
    return (
        f"{label} holds {named} as code of its author, which was not run. Pass "
        f"custom_objects={{{names}}}, or trusted=True if you trust where the file comes from."
    )


def read_tensors(data: bytes, device: th.device | str) -> Any:
    """
    Read tensors; nothing in them is compressed, and none is larger than its memory.

    :param data: what ``torch.save`` wrote
    :param device: where they go
    :raises ValueError: if they promise more than they hold
    """
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        infos = archive.infolist()
        if any(i.compress_type for i in infos) or sum(i.file_size for i in infos) > len(data):
            raise ValueError("its tensors promise more than they hold")
    found = th.load(io.BytesIO(data), map_location=get_device(device), weights_only=True)
    for x in tree_leaves(found):
        if isinstance(x, th.Tensor) and x.numel() * x.element_size() > x.untyped_storage().nbytes():
            raise ValueError(f"one of its tensors claims the shape {tuple(x.shape)}")
    return found


def check_parameters(model: BaseAlgorithm, stored: Parameters) -> None:
    """
    Compare the tensors of a file with those of the agent that they are for.

    :raises ValueError: names one that has another shape or dtype
    """
    own = model.get_parameters()
    for name, state in stored.params.items():
        target = _attribute(model, name) if name in own else None
        if isinstance(target, th.optim.Optimizer):
            _check_optimizer(name, target, state)
            continue
        for key, tensor in own.get(name, {}).items():
            given = state.get(key, tensor)
            _require(f"{name}.{key}", given, tensor.shape, tensor.dtype)
    for name, value in stored.variables.items():
        if value is not None:
            _require(name, value, _attribute(model, name).shape, value.dtype)


def _check_optimizer(name: str, optimizer: th.optim.Optimizer, state: Mapping[str, Any]) -> None:
    if isinstance(optimizer, th.optim.Adafactor):  # whose averages are of rows and columns
        return
    shapes = [p.shape for group in optimizer.param_groups for p in group["params"]]
    for key, values in state["state"].items():
        for what, value in values.items():
            if isinstance(value, th.Tensor) and value.numel() != 1:
                _require(f"{name} {what} of {key}", value, shapes[key], value.dtype)


def _require(name: str, given: Any, shape: Any, dtype: th.dtype) -> None:
    if not isinstance(given, th.Tensor) or (given.shape, given.dtype) != (shape, dtype):
        found = f"{given.dtype} of the shape {tuple(given.shape)}"
        raise ValueError(f"its {name} is {found}; expected {dtype}, {tuple(shape)}")


class Budget(TorchDispatchMode):
    """
    Stops the building of networks that are larger than a file could hold.

    Only what is there at the same time counts: some initial weights are drawn again and again.

    :param nbytes: of the file
    """

    def __init__(self, nbytes: int) -> None:
        super().__init__()
        self.left = 8 * nbytes + _ROOM
        self._made: list[tuple[StorageWeakRef, int]] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = dict(kwargs or {})
        self._require(_asked(func, args, given))
        result = func(*args, **given)
        if not any(made.alias_info for made in func._schema.returns):  # neither in place nor a view
            for x in tree_leaves(result):
                # What lies on an accelerator, such as a replay, the file need not hold.
                if isinstance(x, th.Tensor) and x.device.type == "cpu":
                    self._made.append((StorageWeakRef(x.untyped_storage()), max(x.nbytes, _TENSOR)))
                    self.left -= self._made[-1][1]
        self._require(0)
        return result

    def _require(self, nbytes: int) -> None:
        """Refuse to make so many bytes more, unless there is room once what is gone is counted."""
        if nbytes <= self.left:
            return
        there = [made for made in self._made if not made[0].expired()]
        self.left += sum(size for _, size in self._made) - sum(size for _, size in there)
        self._made = there
        if nbytes > self.left:
            raise ValueError("it asks for larger networks than it holds")


def _asked(func: Any, args: Any, kwargs: Mapping[str, Any]) -> int:
    """Count the bytes that a call is about to make of a shape, or of a number of steps."""
    known = {argument.name for argument in func._schema.arguments}
    tensors = (x.device for x in tree_leaves((args, kwargs)) if isinstance(x, th.Tensor))
    device = kwargs.get("device") or next(tensors, th.device("cpu"))
    if not {"dtype", "device"} <= known or device.type != "cpu":
        return 0
    nowhere = {"device": th.device("meta"), "pin_memory": None, "generator": None}
    given = {**kwargs, **{name: x for name, x in nowhere.items() if name in known}}
    args, given = tree_map_only(th.Tensor, lambda x: x.to("meta"), (args, given))
    return int(func(*args, **given).nbytes)


def system_info(path: Source) -> str:
    """
    Read on what kind of machine an agent was saved.

    :param path: see :func:`read_agent`
    """
    with reading(within(path, MODEL), "agent", "zip") as reader:
        return reader.read(SYSTEM).decode()


def saved_policy_kwargs(path: Source) -> dict[str, Any] | None:
    """
    Read only the policy's arguments from an agent's file.

    :param path: see :func:`read_agent`
    :return: None where they are code, or the file is of an earlier version
    :raises FileError: if it is damaged
    """
    try:
        with reading(within(path, MODEL), "agent", "zip") as reader:
            plain = reader.read_json(DATA)
            return from_json(plain["policy_kwargs"]) if "policy_kwargs" in plain else None
    except OtherFormat:
        return None
