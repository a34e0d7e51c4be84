"""Promises about ``predict``: SB3's protocol of acting, with a memory and without one."""

import random
from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.evaluation import evaluate_policy

from dreamzoo.testing.case import LENGTH, Case, alone, row
from dreamzoo.testing.promises import (
    DREAMZOO,
    SB3,
    difference,
    promise,
    require,
    require_error,
)

PREDICT = "stable_baselines3.common.base_class.BaseAlgorithm.predict"
PROTOCOL = "stable_baselines3.common.type_aliases.PolicyPredictor"
N = 3  # environments
TOLERANCE = 1e-5  # sums of another order


def has_no_memory(case: Case) -> str | None:
    """Return why an agent cannot forget."""
    return None if case.has_memory else "predict() returns no state"


def _act(case: Case, obs: Any, state: Any = None, starts: Any = None) -> tuple[Any, Any]:
    return case.actor.predict(obs, state, starts, deterministic=True)


def _memory(case: Case, only: int | None = None) -> Any:
    """Return the state after three steps of all environments, or of one."""
    state = None
    for step in range(3):
        obs = case.observations(N, seed=step)
        obs = obs if only is None else row(obs, only)
        _, state = _act(case, obs, state)
    return state


def _of_row(state: Any, i: int) -> Any:
    """Return what a state remembers of one environment: batches come first, or after layers."""
    if state is None:
        return None
    parts = [np.asarray(part) for part in state]
    return [part[i : i + 1] if len(part) == N else part[:, i : i + 1] for part in parts]


def _compare(one: Any, other: Any, tolerance: float = 0.0) -> str:
    return difference(one, other, "(action, state)", tolerance)


@promise(SB3, PREDICT)
def predict_takes_one_and_many(case: Case) -> None:
    """One observation gives one action, a batch a batch, of the space's dtype and shape."""
    space, obs = case.actor.action_space, case.observations(N)
    for deterministic in (True, False):
        one = case.actor.predict(alone(obs, 0), deterministic=deterministic)[0]
        many = case.actor.predict(obs, deterministic=deterministic)[0]
        for action in (one, *many):
            shape, dtype = np.shape(action), getattr(action, "dtype", type(action))
            require(
                (shape, dtype) == (space.shape, space.dtype) and space.contains(action),
                f"an action of shape {shape} and dtype {dtype}",
                f"a member of {space}",
            )
        require(len(many) == N, f"{len(many)} actions for {N} observations", str(N))


@promise(SB3, PREDICT)
def deterministic_is_deterministic(case: Case) -> None:
    """Deterministic actions and states depend on the arguments only, which are not written to."""
    obs, state = case.observations(N), _memory(case)
    given = None if state is None else tuple(np.array(part) for part in state)
    one = _act(case, obs, state)
    found = difference(given, state, "state")
    require(not found, f"the state that was passed has changed: {found}", "it is not written to")
    found = _compare(one, _act(case, obs, state))
    require(not found, f"on the second call {found}", "the same as on the first")


@promise(SB3, PROTOCOL)
def rows_do_not_mix(case: Case) -> None:
    """What an environment of a batch gets does not depend on the others."""
    together, state = _act(case, case.observations(N), _memory(case))
    for i in range(N):
        action, own = _act(case, row(case.observations(N), i), _memory(case, i))
        found = _compare((together[i : i + 1], _of_row(state, i)), (action, own), TOLERANCE)
        require(not found, f"environment {i} in a batch of {N} and alone: {found}", "no difference")


@promise(SB3, PROTOCOL, has_no_memory)
def memory_is_carried(case: Case) -> None:
    """An agent with a memory uses the state that predict() returned before."""
    fresh, carried = (_act(case, case.observations(N), x)[1] for x in (None, _memory(case)))
    require(difference(fresh, carried) != "", "the same state with a memory and without", "another")


@promise(SB3, PROTOCOL, has_no_memory)
def episode_starts_forget(case: Case) -> None:
    """Where episode_start is True all is forgotten, the last action included; elsewhere nothing."""
    obs, state = case.observations(N), _memory(case)
    fresh, carried = _act(case, obs), _act(case, obs, state)
    found = _compare(_act(case, obs, state, np.ones(N, bool)), fresh)
    require(not found, f"at the start of all episodes {found}", "what no state gives")
    action, mixed = _act(case, obs, state, np.arange(N) == 1)
    for i in range(N):
        one = action[i : i + 1], _of_row(mixed, i)
        source = fresh if i == 1 else carried
        found = _compare(one, (source[0][i : i + 1], _of_row(source[1], i)), TOLERANCE)
        what = f"environment {i}, where environment 1 alone begins an episode: {found}"
        require(not found, what, "what no state gives" if i == 1 else "what its state gives")


@promise(SB3, PROTOCOL)
def no_state_begins_episodes(case: Case) -> None:
    """Without a state every environment begins an episode, whatever episode_start says."""
    obs = case.observations(N)
    for starts in (np.zeros(N, bool), np.ones(N, bool)):
        found = _compare(_act(case, obs, None, starts), _act(case, obs))
        require(not found, f"with episode_start={starts} {found}", "the same as without")


@promise(DREAMZOO, "docs/contract.md")
def predict_leaves_randomness_alone(case: Case) -> None:
    """A deterministic prediction draws no number from torch, numpy or Python's random."""

    def sources() -> list[Any]:
        return [th.get_rng_state(), list(np.random.get_state()), list(random.getstate())]

    obs, before = case.observations(N), sources()
    _act(case, obs)
    found = difference(before, sources(), "the global state of randomness")
    require(not found, "a changed state of torch's, numpy's or Python's randomness", "no change")


@promise(SB3, "stable_baselines3.common.policies.BasePolicy.predict")
def predict_ends_training_mode(case: Case) -> None:
    """predict() switches the policy to evaluation: dropout and statistics rest."""
    policy = case.actor.policy
    policy.set_training_mode(True)
    case.actor.predict(case.observations(1))
    require(not policy.training, "policy.training=True after predict()", "False")


@promise(SB3, "stable_baselines3.common.evaluation.evaluate_policy")
def evaluation_counts_episodes(case: Case) -> None:
    """evaluate_policy() plays the agent and its policy alike, in any number of environments."""
    for n_envs in (1, 2):
        scores = []
        for player in (case.actor, case.actor.policy):
            env = case.make_env(n_envs, seed=1)
            scores.append(evaluate_policy(player, env, 3, return_episode_rewards=True))
        lengths: Any = scores[0][1]
        require(len(lengths) == 3, f"{len(lengths)} episodes in {n_envs} environments", "3")
        longest = max(lengths)
        require(longest <= LENGTH, f"an episode of {longest} steps", f"at most {LENGTH}")
        found = difference(scores[0], scores[1], "(returns, lengths)")
        require(not found, f"of the agent and of its policy, {found}", "equal ones")


@promise(SB3, "stable_baselines3.common.policies.BasePolicy.predict")
def observations_of_wrong_shapes_are_refused(case: Case) -> None:
    """An observation of another shape is a ValueError, and so is the pair of gym's reset()."""
    predict: Any = case.actor.predict
    pair: tuple[Any, dict] = alone(case.observations(1), 0), {}
    require_error(lambda: predict(pair), (ValueError,), "predict((obs, info))", "mixing Gym API")
    part = np.zeros((2, 3, 4, 5, 6), np.float32)
    wrong = dict.fromkeys(pair[0], part) if isinstance(pair[0], dict) else part
    require_error(lambda: predict(wrong), (ValueError,), f"an observation of shape {part.shape}")


def _sees_no_floats(case: Case) -> str | None:
    space = case.actor.observation_space
    floats = isinstance(space, spaces.Box) and space.dtype.kind == "f"
    return None if floats else "observations are no vector of floats"


@promise(DREAMZOO, "docs/contract.md", _sees_no_floats)
def observations_of_nan_are_refused(case: Case) -> None:
    """An observation with NaN is a ValueError that says so."""
    obs = case.observations(1)
    obs[..., 0] = np.nan
    require_error(lambda: case.actor.predict(obs), (ValueError,), "an observation of NaN", "NaN")


@promise(DREAMZOO, "docs/contract.md", has_no_memory)
def states_of_other_environments_are_refused(case: Case) -> None:
    """A state, or flags of episodes, of another number of environments are ValueErrors."""
    obs, state = case.observations(N), _memory(case)
    fewer, predict = case.observations(2), case.actor.predict
    require_error(lambda: predict(fewer, state), (ValueError,), f"2 observations, {N} states")
    flags = np.zeros(N + 1, bool)
    call = f"{N} observations, {N + 1} flags"
    require_error(lambda: predict(obs, state, flags), (ValueError,), call, "episode_start")
