"""From the file of an agent to the agent, whichever it is."""

import contextlib
import importlib
import inspect
import io
import pathlib
import zipfile
from collections.abc import Iterator, Mapping
from typing import Any

import torch as th
from stable_baselines3 import A2C, DDPG, DQN, PPO, SAC, TD3
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.save_util import load_from_zip_file
from stable_baselines3.common.type_aliases import GymEnv

from dreamzoo.common.saved_algorithm import SavedAlgorithm
from dreamzoo.common.storage.container import FileError, OtherFormat, existing, reading
from dreamzoo.common.storage.saves import MODEL, within
from dreamzoo.envs.errors import requires_extra, unknown_name

#: SB3's agents by their names in lower case.
SB3_AGENTS: dict[str, type[BaseAlgorithm]] = {
    agent.__name__.lower(): agent for agent in (A2C, DDPG, DQN, PPO, SAC, TD3)
}
#: Agents of sb3-contrib, an optional package, by the names of their folders there.
CONTRIB_AGENTS = {"recurrent_ppo": "RecurrentPPO"}
#: Those that a file of SB3 may be of; one of DDPG is one of TD3 with other settings.
_OF_FILES = (A2C, DQN, PPO, SAC, TD3)


def agent_class(name: str) -> type[BaseAlgorithm]:
    """
    Return the class of the agent that a command names.

    Example:
        >>> from dreamzoo.common.storage.agents import agent_class
        >>> [agent_class(name).__name__ for name in ("dreamer_v3", "sac", "recurrent_ppo")]
        ['DreamerV3', 'SAC', 'RecurrentPPO']

    :param name: in ``dreamzoo.AGENTS``, :data:`SB3_AGENTS` or :data:`CONTRIB_AGENTS`
    :raises ImportError: if it is of sb3-contrib, which is not installed; says how to
    :raises ValueError: for another name; says which is near
    """
    from dreamzoo import AGENTS  # the agents import this package

    known = AGENTS | SB3_AGENTS
    if name in known:
        return known[name]
    if name not in CONTRIB_AGENTS:
        raise unknown_name("agent", name, [*known, *CONTRIB_AGENTS])
    with requires_extra("contrib"):
        import sb3_contrib
    return getattr(sb3_contrib, CONTRIB_AGENTS[name])


def load(
    path: str | pathlib.Path,
    env: GymEnv | None = None,
    device: th.device | str = "auto",
    trusted: bool = False,
    **kwargs: Any,
) -> BaseAlgorithm:
    """
    Load whatever agent a file holds: of ``dreamzoo.AGENTS``, of SB3, or a user's own, imported.

    Its class's own ``load`` does the same for those who know the class. Files of SB3 run code, so
    that they are loaded with ``trusted=True`` only. They do not name the class:
    what is derived from SB3's agents is loaded as one of these, and DDPG as TD3. Of
    sb3-contrib's agents ``RecurrentPPO`` is known.

    Example:
        >>> import dreamzoo
        >>> agent = dreamzoo.DreamerV3("MlpPolicy", "CartPole-v1", policy_kwargs=dict(size="debug"))
        >>> agent.save("agent")
        >>> type(dreamzoo.load("agent")).__name__
        'DreamerV3'

    :param path: file written by an agent's ``save``, or folder of a :class:`SaveCallback`
    :param env: environment to go on in; None if the agent shall only act
    :param device: ``auto``, ``cpu``, ``cuda``, ...
    :param trusted: also read files of SB3 and dreamzoo 0.1 and whatever else runs code
    :param kwargs: of the class's ``load``, such as settings to change
    :return: the agent
    :raises FileNotFoundError: if there is no such file
    :raises ValueError: if the file holds no agent of dreamzoo or SB3, or one of a class that is not
        known here, if it is damaged, or if it can only be read by running code
    """
    given, path = path, existing(within(pathlib.Path(path), MODEL), "zip")
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {given}; save an agent with agent.save(path).")
    try:
        with reading(path, "agent") as reader:
            # What SB3's own agents load may run code, and they write no file of this form.
            kind = _by_name(path, str(reader.index["agent"]), trusted, SavedAlgorithm)
    except OtherFormat:
        if not trusted:
            raise
        kind = _earlier_class(path)
    if issubclass(kind, SavedAlgorithm):
        kwargs["trusted"] = trusted
    return kind.load(path, env, device, **kwargs)


def _earlier_class(path: pathlib.Path) -> type[BaseAlgorithm]:
    """Find the class of an agent that SB3 or dreamzoo 0.1 has saved; runs code of the file."""
    try:
        data, _, _ = load_from_zip_file(io.BytesIO(path.read_bytes()), device="cpu")
        policy_class = (data or {})["policy_class"]
    except (ValueError, KeyError, zipfile.BadZipFile):
        raise FileError(f"{path} is not a file that agent.save() wrote.") from None
    assert data is not None
    name = data.get("_agent_class")
    if name is None:
        return _by_policy(path, policy_class, data)
    return _by_name(path, name, trusted=True, base=BaseAlgorithm)


def _by_policy(
    path: pathlib.Path, policy_class: Any, data: Mapping[str, Any]
) -> type[BaseAlgorithm]:
    """Find the class of a file that does not name it: of an earlier version, or of SB3."""
    from dreamzoo import AGENTS  # the agents import this package

    fits = [
        agent
        for agent in AGENTS.values()
        if isinstance(policy_class, type) and issubclass(policy_class, _policies(agent))
    ]
    # Not what is derived from SB3's policies: sb3-contrib's act in other ways.
    known: list[type[BaseAlgorithm]] = [*_OF_FILES, *_contrib_agents()]
    of_sb3 = [agent for agent in known if policy_class in agent.policy_aliases.values()]
    if of_sb3 and not fits:
        # A2C and PPO share their policies: a file lacks more arguments of the other one.
        fits = [min(of_sb3, key=lambda x: len(inspect.signature(x).parameters.keys() - data))]
    if len(fits) == 1:
        return fits[0]
    names = ", ".join(agent.__name__ for agent in fits or (*AGENTS.values(), *SB3_AGENTS.values()))
    if fits:
        raise FileError(
            f"{path} holds an agent with the policy {policy_class}, which {names} have. Load it "
            "with the class that saved it."
        )
    raise FileError(
        f"{path} holds an agent with the policy {policy_class}, which no agent of dreamzoo or SB3 "
        f"has ({names}). Load it with the class that saved it."
    )


def _contrib_agents() -> list[type[BaseAlgorithm]]:
    """List the agents of sb3-contrib, where that is installed."""
    with contextlib.suppress(ImportError):
        return [agent_class(name) for name in CONTRIB_AGENTS]
    return []


def _policies(agent: type[BaseAlgorithm]) -> tuple[type, ...]:
    """List what the policies of an agent are derived from."""
    base = getattr(agent, "policy_base", None)
    return tuple(agent.policy_aliases.values()) if base is None else (base,)


def _by_name(path: pathlib.Path, name: str, trusted: bool, base: type[Any]) -> type[BaseAlgorithm]:
    """Find an agent's class, which may be the user's own, among those of a kind that exist."""
    module, _, qualname = name.partition(":")
    if trusted or module.partition(".")[0] == "dreamzoo":
        with contextlib.suppress(ImportError):
            importlib.import_module(module)
    for agent in _subclasses(base):
        if (agent.__module__, agent.__qualname__) == (module, qualname):
            return agent
    raise FileError(
        f"{path} holds an agent of the class {qualname} of {module}, which cannot be found here. "
        f"Import it first, or load the agent yourself: {qualname}.load(path), for a dream "
        f"DreamEnv({qualname}.load(path))."
    )


def _subclasses(base: type[Any]) -> Iterator[type[Any]]:
    """List all classes derived from one, the newest first."""
    for derived in reversed(base.__subclasses__()):
        yield derived
        yield from _subclasses(derived)
