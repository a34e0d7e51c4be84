"""The dream: a learned world model as a batch of environments, in torch on the model's device."""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any, Literal, NamedTuple, NoReturn

import numpy as np
import torch as th
from gymnasium import spaces
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from torch import Tensor

from dreamzoo.envs.dreams.load_model import Model, load_model
from dreamzoo.envs.dreams.rendering import draw_images, draw_numbers, to_frame
from dreamzoo.envs.dreams.shared_model import SpecOfDream
from dreamzoo.envs.dreams.starts import Fixed, Initial, Pool, Starts, check_state
from dreamzoo.envs.vector_resets import first_seed, read_reset_mask
from dreamzoo.nn.fast import graphs
from dreamzoo.nn.fast.parcels import to_device
from dreamzoo.nn.fast.recordings import Recordings
from dreamzoo.nn.observations import Observation
from dreamzoo.nn.process import in_own_precision, restores_process
from dreamzoo.nn.settings import Choice, Flag, Setting, Whole, read_settings
from dreamzoo.nn.state import State, select, where

#: What observations and starts of a dream may be.
ObservationMode = Literal["decoded", "latent"]
StartMode = Literal["initial", "replay"]

#: What arguments of dreams may be.
_SETTINGS: Mapping[str, Setting] = {
    "num_envs": Whole(1),
    "horizon": Whole(2, none=True),
    "observation": Choice(("decoded", "latent")),
    "start": Choice(("initial", "replay")),
    "sample_reward": Flag(),
    "details": Flag(),
}


class Moment(NamedTuple):
    """
    Where all dreams stand.

    :param latent: states, (N, ...)
    :param age: steps since their episodes began, (N,)
    :param reward: of the last step, (N,)
    """

    latent: State
    age: Tensor
    reward: Tensor


class Step(NamedTuple):
    """What follows from one step of all dreams: what is kept, and what :meth:`step` returns."""

    after: Moment
    returned: tuple[Observation, Tensor, Tensor, Tensor, dict[str, Any]]


class DreamVectorEnv(SpecOfDream, VectorEnv):
    """
    N dreams side by side: a world model behind the interface of a gymnasium ``VectorEnv``.

    All values are torch tensors on the model's device: observations, rewards and flags, (N, ...),
    and what ``info`` holds. Nothing is copied to the host, and no step loops over environments; on
    CUDA a step is one recorded graph, with the same numbers, unless the agent's ``cuda_graph``
    says no.
    A policy for the real environment runs here unchanged, as far as it takes tensors;
    :class:`DreamEnv` and :class:`DreamVecEnv` speak numpy.

    ``info`` holds, (N, ...) each: ``latent`` (features of the state), ``continue`` (predicted
    probability that the episode goes on), ``entropy`` (of the model's prediction of the state, in
    nats: high where it is unsure) and, where the agent has a critic, ``value``. Where an episode
    ended they belong to the state that follows the reset; the others are in ``final_info``.

    Resets are in the same step: a row whose episode ended returns the first observation of the
    next, the last one is in ``info["final_obs"]`` where ``info["_final_obs"]`` is true. With
    ``AutoresetMode.DISABLED`` call ``reset(options={"reset_mask": rows})``, a bool tensor (N,).

    Its spaces are its own: seeding them disturbs neither the real environment's nor another
    dream's. ``copy.copy`` and ``copy.deepcopy`` both make a dream of the same model that goes on
    with the same numbers, on its own: for searching in a tree. A dream does not pickle.

    Agents that were trained behind ``VecNormalize`` dream normalized observations and rewards;
    the space says so with the bounds at which those are clipped, where SB3 keeps the raw ones.

    Example:
        >>> from dreamzoo import DreamerV3
        >>> from dreamzoo.envs import DreamVectorEnv
        >>> model = DreamerV3("MlpPolicy", "CartPole-v1", policy_kwargs=dict(size="debug"))
        >>> envs = DreamVectorEnv(model, num_envs=256, horizon=50)
        >>> obs, info = envs.reset(seed=0)
        >>> obs, reward, *_ = envs.step(envs.action_space.sample())
        >>> obs.shape, type(reward)
        (torch.Size([256, 4]), <class 'torch.Tensor'>)

    :param model: an agent, a file it was saved to, or a function that returns one of these. A
        live agent is not copied: as it learns, the dream changes
    :param num_envs: dreams N
    :param horizon: steps after which an episode is truncated; at least 2, or None for no limit
    :param observation: ``decoded``: as the real environment gives them (images channels first, as
        Stable-Baselines3 hands them to a policy); ``latent``: the model's features, a Box
    :param start: ``initial``: what the model believes before the first observation of an
        episode; ``replay``: states of steps that the agent has recorded, filtered at every full
        reset: of its replay buffer, or of the window that an on-policy agent has collected last. A
        context of real steps is given to :meth:`reset`
    :param sample_reward: draw rewards from the predicted distribution instead of its mean
    :param termination: ``"sample"`` draws from the predicted probability of continuing; a number
        ends an episode where that probability is below it; None never does
    :param details: False leaves ``info`` empty but for what an ended episode needs: faster
    :param autoreset_mode: ``SAME_STEP`` or ``DISABLED``
    :param render_mode: ``rgb_array`` or None
    :param device: of a model that is loaded from a file
    :raises ValueError: if the model, or an option, does not fit
    """

    metadata: dict[str, Any] = {  # noqa: RUF012
        "render_modes": ["rgb_array"],
        "render_fps": 15,
        "autoreset_mode": AutoresetMode.SAME_STEP,
    }

    def __init__(
        self,
        model: Model,
        num_envs: int = 1,
        *,
        horizon: int | None = 1_000,
        observation: ObservationMode = "decoded",
        start: StartMode = "initial",
        sample_reward: bool = False,
        termination: Literal["sample"] | float | None = "sample",
        details: bool = True,
        autoreset_mode: AutoresetMode = AutoresetMode.SAME_STEP,
        render_mode: str | None = None,
        device: th.device | str = "auto",
    ) -> None:
        read_settings("DreamVectorEnv", _SETTINGS, locals())
        _check_options(termination, autoreset_mode, render_mode)
        self.model = load_model(model, device)
        self.policy = self.model.policy
        self.device = self.policy.device
        self.num_envs, self.horizon, self.start = num_envs, horizon, start
        self.observation, self.details = observation, details
        self.sample_reward, self.termination = sample_reward, termination
        self.render_mode = render_mode
        self.metadata = {**self.metadata, "autoreset_mode": autoreset_mode}
        self.same_step = autoreset_mode == AutoresetMode.SAME_STEP
        self.single_action_space = deepcopy(self.model.action_space)
        self.single_observation_space = self._observation_space()
        self._clips = dict(self.policy.observation_codec.normalized)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._generator = th.Generator(device=self.device)
        self._starts: Starts | None = None
        self._now: Moment | None = None
        self._recordings = Recordings()

    def _observation_space(self) -> spaces.Space:
        if self.observation == "decoded":
            return self.policy.observation_codec.decoded_space
        model = self.policy.world_model
        width = model.features(model.initial(1)).shape[1]
        return spaces.Box(-np.inf, np.inf, (width,), np.float32)

    def _check_normalization(self) -> None:
        space = self.single_observation_space
        if (
            self.observation == "decoded"
            and self.policy.observation_codec.normalized != self._clips
        ):
            raise ValueError(
                f"This dream was made with observations of {space}; since then the agent has begun "
                "to learn behind another VecNormalize, and dreams of "
                f"{self.policy.observation_codec.decoded_space}. Make a new dream."
            )

    def __deepcopy__(self, memo: dict[int, Any]) -> "DreamVectorEnv":
        shared = (self.model, self.policy, self.policy.world_model)
        memo.update({id(part): part for part in shared})
        copied = memo[id(self)] = object.__new__(type(self))
        vars(copied).update(deepcopy(vars(self), memo))
        return copied

    def __copy__(self) -> "DreamVectorEnv":
        return deepcopy(self)

    def __getstate__(self) -> NoReturn:
        raise TypeError(
            "A dream does not pickle: it would take the whole agent along. Save the agent and make "
            "the dream where it is needed, from the path: DreamEnv('model.zip', ...). Within a "
            "process copy.deepcopy copies a dream."
        )

    @property
    def precision(self) -> str:
        """What the model's products multiply."""
        return self.policy.precision

    @property
    def latent(self) -> State:
        """States of all dreams, (N, ...)."""
        return self._moment.latent

    @property
    def _moment(self) -> Moment:
        if self._now is None:
            raise ResetNeeded("Call reset() before the first step.")
        return self._now

    # ------------------------------------------------------------------ interface

    @th.inference_mode(False)  # what is kept must be of use outside of it
    @restores_process
    @th.no_grad()
    @in_own_precision
    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """
        Begin new dreams.

        :param seed: of everything random; all rows share one stream, so of a list, one for every
            row, the first number counts. None goes on with the stream
        :param options: ``context``: real steps to begin after, for this and all later resets:
            ``{"observations": (1 or N, T, ...), "actions": (1 or N, T - 1, ...)}`` in the
            environment's units, ``actions[:, t]`` chosen after ``observations[:, t]``; ``None``
            goes back to ``start``. ``state``: instead of steps the model's state after them, of 1
            or N rows, as :attr:`latent` holds it. ``reset_mask``: bool (N,), the rows to reset;
            default all
        :return: first observations (N, ...) and info
        :raises ValueError: for options that do not fit
        """
        if isinstance(seed, list):
            seed = first_seed(seed, self.num_envs, "dreams")
        super().reset(seed=seed)
        if seed is not None or self._now is None:
            self._generator.manual_seed(int(self.np_random.integers(2**31)))
        self._check_normalization()
        options = {} if options is None else options
        if not isinstance(options, Mapping):
            raise ValueError(f"{options=}; expected a dict, or None.")
        unknown = set(options) - {"context", "state", "reset_mask"}
        if unknown or {"context", "state"} <= set(options):
            raise ValueError(
                f"Reset options {list(options)}; expected context or state, and reset_mask."
            )
        mask = read_reset_mask(
            options.get("reset_mask"),
            self.num_envs,
            "dreams",
            self.device,
            has_begun=self._now is not None,
        )
        if "context" in options:
            context = options["context"]
            self._starts = None if context is None else Fixed(self._filter(context), self.num_envs)
        if "state" in options:
            like = self.policy.world_model.initial(1)
            self._starts = Fixed(check_state(options["state"], like, self.num_envs), self.num_envs)
        if self._starts is None or (mask is None and isinstance(self._starts, Pool)):
            self._starts = self._make_starts()
        fresh = self._starts(self.num_envs, self._generator)
        self._now = self._restarted(mask, fresh, self._now)
        return self._observe(self.latent), self._info(self.latent)

    @th.inference_mode(False)
    @restores_process
    @th.no_grad()
    @in_own_precision
    def step(self, actions: Any) -> tuple[Observation, Tensor, Tensor, Tensor, dict[str, Any]]:
        """
        Dream one step.

        :param actions: in the environment's units, (N, ...), torch, numpy or a list; continuous
            ones outside their bounds are clipped. See :meth:`ActionCodec.from_env` for dtypes
        :return: observations (N, ...), rewards (N,), terminated and truncated (N,) bool, info
        :raises ResetNeeded: before the first reset
        :raises ValueError: for actions of a wrong shape or, where it can be seen without waiting
            for the device, a wrong value
        """
        before, given = self._moment, self._check_shape(actions)
        # What is on the device already is turned into the model's units there.
        is_raw = isinstance(given, Tensor) and given.device == self.device
        given = given if is_raw else self._to_model_action(given)
        if graphs.is_far(self.device) and self.policy.cuda_graph:
            step = self._repeat(given, before, is_raw)
        else:
            step = self._dream(given, before.latent, before.age, is_raw)
        self._now = step.after
        return step.returned

    @restores_process
    @th.no_grad()
    @in_own_precision
    def render(self) -> tuple[np.ndarray, ...] | None:
        """
        Draw every dream: its decoded image, or its numbers as bars.

        :return: uint8 frames (height, width, 3), one for each dream; None without a render mode
        """
        if self.render_mode is None:
            return None
        obs = self.policy.world_model.decode(self.latent)
        codec = self.policy.observation_codec
        if codec.image_keys:
            key = codec.image_keys[0]
            images = obs[key.name] if isinstance(obs, dict) else obs
            shades = key.to_shades(images).cpu().numpy()
            return tuple(to_frame(image) for image in draw_images(key, shades))
        parts = obs if isinstance(obs, dict) else {"observation": obs}
        host = {name: part.cpu().numpy() for name, part in parts.items()}
        rewards = self._moment.reward.cpu().numpy()
        return tuple(
            draw_numbers({name: part[i] for name, part in host.items()}, float(rewards[i]))
            for i in range(self.num_envs)
        )

    # ------------------------------------------------------------------ parts of a step

    def _repeat(self, given: Tensor, before: Moment, is_raw: bool) -> Step:
        """Dream one step by a graph, which is recorded for what steps depend on beside tensors."""
        fixed = (
            is_raw,
            self._starts if self.same_step else None,
            self.horizon,
            self.observation,
            self.details,
            self.sample_reward,
            self.termination,
            self.precision,
            self.policy.training,
            tuple(self.policy.observation_codec.normalized.items()),
        )

        def dream(given: Tensor, latent: State, age: Tensor) -> Step:
            return self._dream(given, latent, age, is_raw)

        dream.__qualname__ = f"{type(self).__name__}.step"
        with self._recordings.lock:
            graph = self._recordings.get(self.policy, fixed, dream, [self._generator])
            step: Step = graph(given, before.latent, before.age)
            # The next step overwrites what a recording returns.
            return graphs.detached(step) if graph.is_recorded else step

    def _dream(self, given: Tensor, before: State, age: Tensor, is_raw: bool) -> Step:
        """
        Dream one step.

        :param given: actions on the device, (N, ...)
        :param before: states, (N, ...)
        :param age: of the episodes, (N,)
        :param is_raw: actions are in the environment's units, not yet in replay form
        """
        codec = self.policy.action_codec
        encoded = codec.encode(codec.from_env(given) if is_raw else given)
        latent = self.policy.world_model.imagine_step(before, encoded, self._generator)
        reward, cont = self.policy.world_model.predict(latent)
        if self.sample_reward:
            reward = self.policy.world_model.sample_reward(latent, self._generator)
        terminated = self._terminated(cont)
        age = age + 1  # in place it could meet a tensor of inference mode
        limit = self.horizon
        truncated = th.zeros_like(terminated) if limit is None else age >= limit
        after = Moment(latent, age, reward.clone())
        info: dict[str, Any] = {}
        done = terminated | truncated
        # A look at the flags costs nothing on a CPU; elsewhere it would wait for the device.
        if self.same_step and (graphs.is_far(self.device) or bool(done.any())):
            info["final_obs"], info["_final_obs"] = self._observe(latent), done
            info["final_info"], info["_final_info"] = self._info(latent, cont), done
            assert self._starts is not None
            after = self._restarted(done, self._starts(self.num_envs, self._generator), after)
            info |= self._info(after.latent)
        else:
            info |= self._info(latent, cont)
        return Step(after, (self._observe(after.latent), reward, terminated, truncated, info))

    def _terminated(self, cont: Tensor) -> Tensor:
        if self.termination is None:
            return th.zeros_like(cont, dtype=th.bool)
        if self.termination == "sample":
            draw = th.rand(cont.shape, generator=self._generator, device=cont.device)
            return draw >= cont
        return cont < self.termination

    def _restarted(self, rows: Tensor | None, fresh: State, before: Moment | None) -> Moment:
        """Put fresh latents where ``rows`` is true, or everywhere."""
        age = th.zeros(self.num_envs, dtype=th.long, device=self.device)
        reward = th.zeros(self.num_envs, device=self.device)
        if rows is None:
            return Moment(fresh, age, reward)
        assert before is not None
        latent = where(rows, fresh, before.latent)
        age = th.where(rows, age, before.age)
        return Moment(latent, age, th.where(rows, reward, before.reward))

    def _observe(self, latent: State) -> Observation:
        if self.observation == "latent":
            return self.policy.world_model.features(latent)
        return self.policy.world_model.decode(latent)

    def _info(self, latent: State, cont: Tensor | None = None) -> dict[str, Any]:
        if not self.details:
            return {}
        if cont is None:
            cont = self.policy.world_model.predict(latent)[1]
        info = {
            "latent": self.policy.world_model.features(latent),
            "continue": cont,
            "entropy": self.policy.world_model.entropy(latent),
        }
        value = self.policy.value(latent)
        return info if value is None else info | {"value": value}

    def _to_model_action(self, given: Any) -> Tensor:
        """Turn actions into replay form, on the device."""
        actions = self.policy.action_codec.from_env(given)
        if isinstance(actions, Tensor):
            return actions.to(self.device)
        return to_device(actions, self.device)

    def _check_shape(self, actions: Any) -> Any:
        codec = self.policy.action_codec
        given = codec.as_array(actions)
        expected = (self.num_envs, *codec.shape)
        if tuple(given.shape) != expected:
            raise ValueError(
                f"actions have the shape {tuple(given.shape)}; expected {expected}: one action of "
                f"{self.single_action_space} for each of the {self.num_envs} dreams."
            )
        return given

    # ------------------------------------------------------------------ starts

    def _make_starts(self) -> Starts:
        if self.start == "initial":
            return Initial(self.policy.world_model.first_state)
        return Pool(self.model.replay_latents(self._generator))

    def _filter(self, context: dict[str, Any]) -> State:
        """Let the model see real steps, and return the states it ends in, (1 or N, ...)."""
        if not isinstance(context, Mapping) or set(context) != {"observations", "actions"}:
            found = list(context) if isinstance(context, Mapping) else type(context).__name__
            raise ValueError(
                f"context={found}; expected a dict with the keys observations and actions."
            )
        model = self.policy.world_model
        checker = self.policy.observation_checker
        actions = self.policy.action_codec.as_array(context["actions"], "context actions")
        rows, steps = checker.check(context["observations"], 2, "context observation")
        obs = checker.to_tensors(context["observations"], self.device)
        expected = (rows, steps - 1, *self.single_action_space.shape)  # type: ignore[misc]
        if rows not in (1, self.num_envs) or tuple(actions.shape) != expected:
            raise ValueError(
                f"context has observations of {rows} rows and {steps} steps and actions of the "
                f"shape {tuple(actions.shape)}; expected 1 or {self.num_envs} rows and "
                f"actions of the shape {expected}: one less than observations."
            )
        codec = self.policy.action_codec
        taken = th.as_tensor(codec.from_env(actions, "context actions"), device=self.device)
        encoded = codec.encode(taken)  # (rows, steps - 1, dim)
        before = th.cat([encoded.new_zeros(rows, 1, codec.dim), encoded], 1)
        first = th.zeros(rows, steps, dtype=th.bool, device=self.device)
        first[:, 0] = True
        states = model.filter(model.initial(rows), before, obs, first, self._generator)
        return select(states, (slice(None), -1))


def _check_options(
    termination: str | float | None, autoreset_mode: AutoresetMode, render_mode: str | None
) -> None:
    number = isinstance(termination, (int, float)) and 0 < termination < 1
    if termination not in ("sample", None) and not number:
        raise ValueError(f"{termination=} must be 'sample', a probability or None.")
    if autoreset_mode not in (AutoresetMode.SAME_STEP, AutoresetMode.DISABLED):
        raise ValueError(f"{autoreset_mode=} must be AutoresetMode.SAME_STEP or DISABLED.")
    if render_mode not in (None, "rgb_array"):
        raise ValueError(f"{render_mode=} must be 'rgb_array' or None.")
