"""Promises about files: agents, parameters and policies that are saved, loaded and copied."""

import io
import pickle
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import torch as th
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import DummyVecEnv

from dreamzoo.testing.case import Case
from dreamzoo.testing.promises import (
    DREAMZOO,
    SB3,
    difference,
    promise,
    require,
    require_error,
)

BASE = "stable_baselines3.common.base_class.BaseAlgorithm"
#: Attributes that belong to one run of the program.
OF_THE_RUN = {"start_time", "verbose"}


def saved(agent: Any) -> io.BytesIO:
    """Save an agent or a policy into a stream, ready to be read."""
    file = io.BytesIO()
    agent.save(file)
    file.seek(0)
    return file


def acts_alike(case: Case, one: Any, other: Any) -> str:
    """Say where two agents differ that act on the same observations for four steps, or ``""``."""
    states: tuple[Any, Any] = (None, None)
    for step in range(4):
        obs = case.observations(2, seed=step)
        pairs = [
            player.predict(obs, state, deterministic=True)
            for player, state in zip((one, other), states, strict=True)
        ]
        if found := difference(pairs[0], pairs[1], f"(action, state) of step {step}"):
            return found
        states = (pairs[0][1], pairs[1][1])
    return ""


def _numbers(agent: BaseAlgorithm) -> dict[str, Any]:
    values = {k: v for k, v in vars(agent).items() if k not in OF_THE_RUN}
    return {k: v for k, v in values.items() if isinstance(v, bool | int | float | str)}


@promise(SB3, f"{BASE}.save and .load")
def a_loaded_agent_is_the_same(case: Case) -> None:
    """
    An agent that is loaded, without an environment, has the parameters that were saved.

    So have its optimizers and counters, and it acts the same. Saving changes nothing, and the file
    may be a path or a stream.
    """
    agent = case.trained
    before = vars_of(agent)
    with tempfile.TemporaryDirectory() as folder:
        agent.save(Path(folder) / "agent")
        found = difference(before, vars_of(agent), "the agent")
        require(not found, f"after save() {found}", "the agent as it was")
        loaded = case.agent_class.load(Path(folder) / "agent", device="cpu")
    streamed = case.agent_class.load(saved(agent), device="cpu")
    for other, way in ((loaded, "from a path"), (streamed, "from a stream")):
        found = difference(before, vars_of(other), "the agent")
        require(not found, f"of the saved agent and the one loaded {way}, {found}", "equal ones")
        found = acts_alike(case, agent, other)
        require(not found, f"of the saved agent and the one loaded {way}, {found}", "equal ones")


def vars_of(agent: BaseAlgorithm) -> dict[str, Any]:
    """Return parameters, states of optimizers, settings and counters of an agent."""
    return {"parameters": agent.get_parameters(), "attributes": _numbers(agent)}


@promise(SB3, f"{BASE}.load, custom_objects")
def custom_objects_replace_what_was_saved(case: Case) -> None:
    """load(custom_objects=...) replaces what is in the file, and ignores what is not."""
    given = {"learning_rate": 2e-5, "no_such_thing": 1}
    loaded = case.agent_class.load(saved(case.trained), device="cpu", custom_objects=given)
    rates = loaded.learning_rate, loaded.lr_schedule(1.0)
    require(rates == (2e-5, 2e-5), f"learning rate and schedule {rates}", "2e-5 for both")
    require(not hasattr(loaded, "no_such_thing"), "agent.no_such_thing", "it is ignored")


@promise(SB3, f"{BASE}.load, env")
def a_loaded_agent_learns_on(case: Case) -> None:
    """
    A loaded agent goes on learning, also in another number of environments.

    Its counters go on with ``reset_num_timesteps=False``. Other spaces are refused.
    """
    file, steps = saved(case.trained), case.trained.num_timesteps
    loaded: Any = case.agent_class.load(file, env=case.make_env(2), device="cpu")
    updates = loaded._n_updates
    total = case.total(loaded)
    loaded.learn(total, reset_num_timesteps=False)
    require(
        loaded.num_timesteps == steps + total,
        f"num_timesteps={loaded.num_timesteps} after {steps} and {total} steps",
        str(steps + total),
    )
    after = loaded._n_updates
    require(after > updates, f"{after} updates after {updates}", "more")
    file.seek(0)
    other = DummyVecEnv([case.other_env])
    require_error(
        lambda: case.agent_class.load(file, env=other, device="cpu"),
        (ValueError,),
        "an environment with other observations",
    )


@promise(SB3, f"{BASE}.load, env")
def without_an_environment_learning_is_refused(case: Case) -> None:
    """An agent that was loaded without an environment refuses to learn."""
    loaded = case.agent_class.load(saved(case.trained), device="cpu")
    refused = AssertionError, ValueError
    require_error(lambda: loaded.learn(1), refused, "learn() without an environment")


@promise(SB3, f"{BASE}.get_parameters and .set_parameters")
def parameters_fit_another_agent(case: Case) -> None:
    """
    Parameters of one agent, optimizers included, make another of the same class act alike.

    They must match exactly, unless ``exact_match=False``.
    """
    agent: Any = case.trained
    other: Any = case.make(seed=9)
    parameters = agent.get_parameters()
    optimizers = any("optimizer" in name for name in parameters)
    require(
        "policy" in parameters and optimizers,
        f"the parameters {sorted(parameters)}",
        "policy and an optimizer among them",
    )
    require(
        difference(parameters["policy"], other.get_parameters()["policy"]) != "",
        "equal policies of a trained and a fresh agent",
        "different ones",
    )
    other.set_parameters(parameters)
    found = difference(parameters, other.get_parameters(), "parameters")
    require(not found, f"after set_parameters() {found}", "what was set")
    found = acts_alike(case, agent, other)
    require(not found, f"after set_parameters() {found}", "the same actions")
    for wrong, what in (
        ({**parameters, "stranger": {}}, "parameters of a stranger"),
        ({"policy": parameters["policy"]}, "parameters without optimizers"),
    ):
        require_error(partial(other.set_parameters, wrong), (ValueError,), what)
    other.set_parameters({"policy": parameters["policy"]}, exact_match=False)


@promise(SB3, "stable_baselines3.common.policies.BaseModel.save and .load")
def a_policy_is_saved_alone(case: Case) -> None:
    """A policy that is saved and loaded alone acts the same."""
    policy: Any = case.actor.policy
    loaded = type(policy).load(saved(policy), device="cpu")
    found = acts_alike(case, policy, loaded)
    require(not found, f"of the saved and the loaded policy {found}", "equal ones")


@promise(DREAMZOO, "docs/contract.md")
def policies_pickle(case: Case) -> None:
    """A policy that is pickled, as for another process, acts the same."""
    policy = case.actor.policy
    copied = pickle.loads(pickle.dumps(policy))
    found = acts_alike(case, policy, copied)
    require(not found, f"of the policy and its copy {found}", "equal ones")


def _has_one_device(case: Case) -> str | None:
    return None if case.second_device else "there is no second device"


@promise(SB3, f"{BASE}.__init__ and .load, device", _has_one_device)
def devices_are_changed(case: Case) -> None:
    """An agent learns on another device, all of its parameters there, and is loaded on a CPU."""
    agent = case.learn(case.make(device=case.second_device))
    kinds = {parameter.device.type for parameter in agent.policy.parameters()}
    expected = th.device(case.second_device or "cpu").type
    require(kinds == {expected}, f"parameters on {sorted(kinds)}", expected)
    loaded = case.agent_class.load(saved(agent), device="cpu")
    kinds = {parameter.device.type for parameter in loaded.policy.parameters()}
    require(kinds == {"cpu"}, f"parameters on {sorted(kinds)} after load(device='cpu')", "cpu")
    found = difference(agent.policy.state_dict(), loaded.policy.state_dict(), "parameters")
    require(not found, f"on the two devices {found}", "equal ones")
    loaded.predict(case.observations(2))
