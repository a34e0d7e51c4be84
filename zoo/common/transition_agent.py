"""Off-policy agents without a memory, which learn from single transitions of SB3's own replay."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.buffers import NStepReplayBuffer, ReplayBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.noise import ActionNoise
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv, MaybeCallback, PyTorchObs, Schedule
from torch import Tensor

from dreamzoo.common.arguments import refuse_unknown
from dreamzoo.common.checked_algorithm import CheckedAlgorithm
from dreamzoo.common.environments.normalizer import begin_training
from dreamzoo.common.own_randomness import OwnRandomness
from dreamzoo.common.settings import Frequency
from dreamzoo.common.training import (
    MeanMetrics,
    check_finite_losses,
    check_means,
    guard_gradients,
    to_means,
)
from dreamzoo.nn.actions import ActionCodec
from dreamzoo.nn.checks import FLOAT32, InputError
from dreamzoo.nn.fast.ranks import place
from dreamzoo.nn.settings import Arguments, Flag, Number, Setting, Whole

SelfTransitionAgent = TypeVar("SelfTransitionAgent", bound="TransitionAgent")


class TransitionAgent(OwnRandomness, OffPolicyAlgorithm):
    """
    SB3's off-policy algorithm, held to the promises of dreamzoo's agents.

    Settings are checked, bad numbers of the environment are refused before they are stored,
    evaluations between two steps change nothing, and a training that was saved goes on exactly.

    Agents implement :meth:`choose` and :meth:`update`, and name ``policy_base``,
    ``policy_aliases``, ``action_spaces`` and ``smallest``. Their constructor sets their own
    settings, then calls ``_setup_model`` if ``_init_setup_model``.

    :param policy: alias or class
    :param env: environment, VecEnv or gymnasium id
    :param learning_rate: float or schedule of the remaining progress
    :param kwargs: of SB3's ``OffPolicyAlgorithm``
    """

    #: What a policy must be.
    policy_base: ClassVar[type[BasePolicy]]
    #: Action spaces that an agent can act in.
    action_spaces: ClassVar[tuple[type[spaces.Space], ...]]
    #: Arguments of the smallest agent that still learns, see :mod:`dreamzoo.testing`.
    smallest: ClassVar[Mapping[str, Any]] = {}
    settings: ClassVar[Mapping[str, Setting]] = {
        **CheckedAlgorithm.settings,
        "buffer_size": Whole(1),
        "learning_starts": Whole(0),
        "batch_size": Whole(1),
        "tau": Number(0, 1),
        "gamma": Number(0, 1),
        "train_freq": Frequency(),
        "gradient_steps": Whole(-1),
        "replay_buffer_kwargs": Arguments(),
        "optimize_memory_usage": Flag(),
        "n_steps": Whole(1),
    }
    replay_buffer: ReplayBuffer
    action_codec: ActionCodec

    def __new__(cls, *args: Any, **kwargs: Any) -> "TransitionAgent":
        known = cls.__signature__.parameters
        refuse_unknown(f"{cls.__name__}()", kwargs, known, known, "Nothing was built")
        return super().__new__(cls)

    def __init__(
        self,
        policy: str | type[BasePolicy],
        env: GymEnv | str | None,
        learning_rate: float | Schedule,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            policy,
            env,
            learning_rate,
            support_multi_env=True,
            sde_support=False,
            supported_action_spaces=self.action_spaces,
            **kwargs,
        )

    @abstractmethod
    def choose(self, obs: PyTorchObs, generator: th.Generator | None) -> Tensor:
        """
        Choose actions while collecting.

        :param obs: on the agent's device, (n_envs, ...)
        :param generator: source of randomness
        :return: what the environment takes, (n_envs, *action_space.shape)
        """

    @abstractmethod
    def update(self, batch: Any) -> dict[str, Tensor]:
        """
        Update everything once, see :meth:`descend`; waits for nothing on a GPU.

        :param batch: of SB3's replay, B transitions
        :return: losses, whose names end in ``_loss``, norms of gradients, and what else describes
            the update; tensors of any shape
        """

    @abstractmethod
    def optimizers(self) -> list[th.optim.Optimizer]:
        """Return whatever follows ``learning_rate``."""

    # ------------------------------------------------------------------ set-up

    def _setup_model(self) -> None:
        self._need_spaces()
        if not issubclass(self.policy_class, self.policy_base):
            raise ValueError(
                f"{type(self).__name__} needs a {self.policy_base.__name__}, not the "
                f"{self.policy_class.__name__} of {self.policy_class.__module__}; a file of "
                "another algorithm holds that one's."
            )
        self.action_codec = ActionCodec(self.action_space)
        self._check_settings()
        if self._counts_on_steps():
            self.replay_buffer_class = None
        super()._setup_model()
        self._make_generator()

    def _counts_on_steps(self) -> bool:
        """
        Return whether the replay is the one that SB3 takes for ``n_steps`` by itself.

        A file names it as if a user had, and then SB3 says that ``n_steps`` is ignored.
        """
        said = {"n_steps": self.n_steps, "gamma": self.gamma}
        is_usual = self.replay_buffer_class is NStepReplayBuffer
        return is_usual and said.items() <= self.replay_buffer_kwargs.items()

    # ------------------------------------------------------------------ the loop

    def _setup_learn(
        self,
        total_timesteps: int,
        callback: MaybeCallback = None,
        reset_num_timesteps: bool = True,
        tb_log_name: str = "run",
        progress_bar: bool = False,
    ) -> tuple[int, BaseCallback]:
        if (count := place().count) > 1:
            raise ValueError(
                f"{type(self).__name__} learns in one process, and this is one of {count} ranks. "
                "Start it without torchrun."
            )
        self._check_settings()
        begin_training(self.env)
        return super()._setup_learn(
            total_timesteps, callback, reset_num_timesteps, tb_log_name, progress_bar
        )

    def learn(
        self: SelfTransitionAgent,
        total_timesteps: int,
        callback: MaybeCallback = None,
        log_interval: int = 4,
        tb_log_name: str | None = None,
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> SelfTransitionAgent:
        """
        Alternate between collecting and updating, as SB3's off-policy algorithms do.

        :param total_timesteps: steps of all environments together
        :param callback: called at every step of the VecEnv
        :param log_interval: episodes between two log lines
        :param tb_log_name: name of the TensorBoard run; None: that of the agent's class
        :param reset_num_timesteps: False goes on with the counters and, if the environment was
            not reset, with the episodes of the last call
        :param progress_bar: show a progress bar (needs tqdm and rich)
        :return: the trained agent
        """
        name = tb_log_name or type(self).__name__
        return super().learn(
            total_timesteps, callback, log_interval, name, reset_num_timesteps, progress_bar
        )

    @th.no_grad()
    def _sample_action(
        self, learning_starts: int, action_noise: ActionNoise | None = None, n_envs: int = 1
    ) -> tuple[np.ndarray, np.ndarray]:
        if self.num_timesteps < learning_starts:
            drawn = self.action_codec.sample(n_envs, self._generator, self.device)
            chosen = self.action_codec.to_env(drawn)
        else:
            assert self._last_obs is not None
            obs, _ = self.policy.obs_to_tensor(self._last_obs)
            chosen = self.choose(obs, self._generator)
        actions = chosen.cpu().numpy()
        return actions, actions

    def _store_transition(
        self,
        replay_buffer: ReplayBuffer,
        buffer_action: np.ndarray,
        new_obs: np.ndarray | dict[str, np.ndarray],
        reward: np.ndarray,
        dones: np.ndarray,
        infos: list[dict[str, Any]],
    ) -> None:
        try:
            refuse_not_finite(reward, "reward")
            refuse_not_finite(new_obs, "new observation")
            for info in infos:
                refuse_not_finite(info.get("terminal_observation"), "terminal observation")
        except InputError as error:
            raise ValueError(
                f"The environment returned a {error.what} at step {self.num_timesteps}: "
                f"{error.detail}. Nothing of this step was stored. Fix the environment; SB3's "
                "VecCheckNan finds where NaN comes from."
            ) from None  # it says the same
        super()._store_transition(replay_buffer, buffer_action, new_obs, reward, dones, infos)

    def train(self, gradient_steps: int, batch_size: int | None = None) -> None:
        """
        Update on replayed transitions; ``learn`` calls it.

        :param gradient_steps: number of updates
        :param batch_size: transitions of each; None: the agent's
        """
        self._check_settings()
        self._need_logger()
        if gradient_steps and not self.replay_buffer.size():
            raise ValueError("The replay buffer is empty: collect experience before sampling.")
        self.policy.set_training_mode(True)
        self._update_learning_rate(self.optimizers())
        metrics = MeanMetrics()
        for _ in range(gradient_steps):
            batch = self.replay_buffer.sample(
                batch_size or self.batch_size, env=self._vec_normalize_env
            )
            metrics.add(to_means(self.update(batch)))
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")
        means = metrics.means()
        check_means(self, means)
        for name, value in means.items():
            self.logger.record(f"train/{name}", value)

    def descend(self, name: str, loss: Tensor, optimizer: th.optim.Optimizer) -> dict[str, Tensor]:
        """
        Take a step down the gradient of a loss, unless one of both is not finite.

        :param name: of the loss
        :param loss: scalar; no parameters but the optimizer's get a gradient of it
        :param optimizer: takes the step
        :return: norm of the gradient: ``<name>_grad_norm``
        :raises FloatingPointError: on a CPU; elsewhere :meth:`train` raises it after its updates
        """
        check_finite_losses(self, loss, {name: loss})
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        optimizer.zero_grad()
        # Of these alone: gradients of critics that an actor learns through would be thrown away.
        loss.backward(inputs=parameters)
        grads = [p.grad for p in parameters if p.grad is not None]
        norms = {f"{name}_grad_norm": th.nn.utils.get_total_norm(grads)}
        guard_gradients(self, parameters, loss, norms)
        optimizer.step()
        return norms

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "action_codec"]


def refuse_not_finite(value: Any, name: str) -> None:
    """
    Refuse NaN and infinity, and numbers too large for float32.

    :param value: array, number, or a dict of them; whatever else there is, is left to SB3
    :param name: what it is
    :raises ValueError: names the first of them
    """
    if isinstance(value, dict):
        for key, part in value.items():
            refuse_not_finite(part, f"{name} {key!r}")
    elif isinstance(value, np.ndarray | np.floating | float):
        array = np.asarray(value)
        if array.dtype.kind == "f" and array.size:
            FLOAT32.check(array, name)
