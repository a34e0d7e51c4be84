"""Live agents in the specs that gymnasium keeps of environments."""

from typing import Any

from gymnasium.envs.registration import EnvSpec

from dreamzoo.envs.dreams.agent import AgentWithModel


class SharedModel:
    """
    Name an agent in a way that does not copy it.

    :param model: what calling returns, also of a copy
    """

    def __init__(self, model: AgentWithModel) -> None:
        self.model = model

    def __call__(self) -> AgentWithModel:
        return self.model

    def __deepcopy__(self, memo: dict[int, Any]) -> "SharedModel":
        return self


class SpecOfDream:
    """
    Let an environment's spec share the agent that it was made with.

    Wrappers of gymnasium, and SB3's ``Monitor``, copy the spec of what they wrap: with it the
    agent's replay, and its training environment, which need not survive that.
    """

    _spec: EnvSpec | None = None

    @property
    def spec(self) -> EnvSpec | None:
        """What ``gymnasium.make`` made this of."""
        return self._spec

    @spec.setter
    def spec(self, spec: EnvSpec | None) -> None:
        if spec is not None and isinstance(model := spec.kwargs.get("model"), AgentWithModel):
            spec.kwargs["model"] = SharedModel(model)
        self._spec = spec
