"""The updates of world-model agents: when they are due, what they share, what they log."""

from abc import abstractmethod
from collections.abc import Sequence
from functools import reduce
from typing import ClassVar

import torch as th
from torch import Tensor

from dreamzoo.common.buffers import SequenceBatch
from dreamzoo.common.collecting_algorithm import CollectingAlgorithm
from dreamzoo.common.recorded_update import RecordedUpdate
from dreamzoo.common.settings import Whole, read_settings
from dreamzoo.common.training import (
    Losses,
    MeanMetrics,
    Outcome,
    check_finite_losses,
    check_means,
    guard_gradients,
    total,
)
from dreamzoo.nn.fast.precision import PrecisionName, using
from dreamzoo.nn.fast.threads import backward_in_parallel
from dreamzoo.nn.process import restores_process
from dreamzoo.nn.state import State
from dreamzoo.nn.world_model import Filtered

#: Formats of SB3's logger that show tables, and the longest name that these show whole.
TABLES, LONGEST_NAME = ("stdout", "log"), 33


class UpdatingAlgorithm(CollectingAlgorithm):
    """
    Off-policy algorithm that updates a world model, and what acts in it, on replayed windows.

    Agents implement :meth:`losses`.

    :param args: of SB3's ``OffPolicyAlgorithm``
    :param kwargs: of SB3's ``OffPolicyAlgorithm``
    """

    #: Whether new windows are replayed once before others are drawn.
    online_queue: ClassVar[bool] = False
    #: Terms of the loss whose graphs have nothing in common with those of the others.
    apart: ClassVar[tuple[str, ...]] = ()
    #: The gradient is scaled down to this norm; None: never.
    max_grad_norm: float | None = None
    precision: PrecisionName
    cuda_graph: bool
    #: Replayed steps for every step of the environment.
    train_ratio: float
    #: Parts of observations that a VecNormalize normalizes, by the codec's names, and where it
    #: clips them.
    _normalized: dict[str, float]
    _recorded: RecordedUpdate | None = None
    _updates_due: float | None = None  # None until the first update is allowed

    @restores_process
    def train(self, gradient_steps: int, batch_size: int | None = None) -> None:
        """
        Update on replayed windows; needs no environment, nor ``learn`` before it.

        ``learn`` calls it. To learn from what others have collected, load a replay first.

        :param gradient_steps: number of updates
        :param batch_size: rows of a batch; None: the agent's
        :raises RuntimeError: where gradients are disabled
        :raises ValueError: if the replay is empty, a setting makes no sense or the statistics of
            a VecNormalize are missing
        """
        assert self.replay_buffer is not None
        if not th.is_grad_enabled():
            raise RuntimeError(
                "Gradients are disabled, and updates need them: call learn() and train() outside "
                "of torch.no_grad() and torch.inference_mode()."
            )
        self._check_settings()
        batch_size = self.batch_size if batch_size is None else batch_size
        given = {"gradient_steps": gradient_steps, "batch_size": batch_size}
        read_settings("train()", {"gradient_steps": Whole(0), "batch_size": Whole(1)}, given)
        self._check_statistics()
        self._need_logger()
        self.policy.set_training_mode(True)
        self._update_learning_rate(self.policy.optimizer)
        metrics = MeanMetrics()
        for _ in range(gradient_steps):
            batch = self.replay_buffer.sample(
                batch_size, self._vec_normalize_env, online=self.online_queue
            )
            with using(self.precision, self.device):
                metrics.add(self._update(batch))
            self._n_updates += 1
        self._log(metrics)

    def _update(self, batch: SequenceBatch) -> dict[str, th.Tensor]:
        """
        Update everything once.

        :return: means of losses and of what else describes the update
        """
        assert self.replay_buffer is not None
        if self._recorded is None or not self._recorded.fits():
            self._recorded = RecordedUpdate(self)
        metrics, latents = self._recorded(batch)
        if latents:
            self.replay_buffer.write_latents(batch.windows, latents)
        return metrics

    @abstractmethod
    def losses(self, batch: SequenceBatch) -> Losses:
        """
        Compute every term of the loss on one batch, with gradient.

        On CUDA this is recorded once, with the optimizer's step, and repeated: its launches may
        depend on settings and shapes, not on values, and nothing in it may wait for the device.

        :param batch: (B, T)
        """

    def _learn_from(self, batch: SequenceBatch) -> Outcome:
        """Compute losses and gradients of one batch, under the same conditions."""
        averages = self._averages()
        before = [average.clone() for average in averages]
        terms, metrics, latents = self.losses(batch)
        loss, parts = self._add_up(terms)
        good = th.isfinite(loss)
        for average, old in zip(averages, before, strict=True):  # of a bad loss nothing remains
            average.copy_(th.where(good, average, old))
        norm = self._compute_gradients(terms, loss, parts)
        named = {f"{name}_loss": term for name, term in terms.items()}
        return Outcome(named | metrics | {"grad_norm": norm}, latents)

    def _averages(self) -> list[Tensor]:
        """Return the moving averages that computing the losses moves."""
        return []

    def _after_step(self) -> None:
        """Do what follows an optimizer's step, under the same conditions."""

    def _loss_weights(self) -> dict[str, float]:
        """Return the weights of the terms of the loss; those that are not named weigh 1."""
        return {}

    def _weigh(self, losses: dict[str, Tensor]) -> dict[str, Tensor]:
        """Multiply every term of the loss by its weight."""
        weights = self._loss_weights()
        return {name: weights.get(name, 1.0) * term for name, term in losses.items()}

    def _add_up(self, losses: dict[str, Tensor]) -> tuple[Tensor, list[Tensor]]:
        """
        Add up the weighted terms of the loss.

        :return: the loss, and what adds up to it, whose graphs have nothing in common
        """
        weighted = self._weigh(losses)
        apart = [weighted.pop(name) for name in self.apart]
        if not apart:
            loss = total(weighted)
            return loss, [loss]
        parts = [reduce(th.add, apart), total(weighted)]
        loss = parts[0].detach() + parts[1].detach()
        # Backward passes can share time. But convolutions take far longer than the rest, and use
        # all cores by themselves.
        images = bool(self.policy.world_model.codec.image_keys)
        return loss, [parts[0] + parts[1]] if images else parts

    def _compute_gradients(
        self, losses: dict[str, Tensor], loss: Tensor, parts: Sequence[Tensor]
    ) -> Tensor:
        """
        Compute the gradients of everything that is trained; none that is not finite remains.

        :param losses: terms of the loss, for the message
        :param loss: the whole loss, with a graph or without
        :param parts: what adds up to it, whose graphs have nothing in common but parameters
        :return: norm of all gradients, before it is clipped
        :raises FloatingPointError: on a CPU, see :func:`check_finite_losses`
        """
        check_finite_losses(self, loss, losses)
        self.policy.optimizer.zero_grad()
        backward_in_parallel(parts)
        parameters = self.policy.trained_parameters()
        norm = th.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
        guard_gradients(self, parameters, loss, norm)
        if self.max_grad_norm is not None:
            # Of a norm that is not finite nothing may reach the gradients that the guard emptied.
            th.nn.utils.clip_grads_with_norm_(
                parameters, self.max_grad_norm, norm.nan_to_num(0.0, 0.0)
            )
        return norm

    def observe_batch(
        self, batch: SequenceBatch, generator: th.Generator | None = None
    ) -> Filtered:
        """
        Filter the sequences of a batch, from the states that precede them.

        :param batch: (B, T)
        :param generator: source of the states' randomness
        """
        return self.policy.world_model.observe_sequence(
            self.start_latent(batch),
            self.policy.action_codec.encode(batch.actions),
            batch.observations,
            batch.is_first,
            generator,
        )

    def start_latent(self, batch: SequenceBatch) -> State:
        """Return the states that precede the rows of a batch, (B, ...)."""
        return self.policy.world_model.initial(len(batch.rewards))

    def _log(self, metrics: MeanMetrics) -> None:
        """Record the means of one call of :meth:`train` under SB3's key style."""
        ratio = self._n_updates * self.batch_size * self.batch_length / max(self.num_timesteps, 1)
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")
        self.logger.record("train/replay_ratio", ratio)
        means = metrics.means()
        check_means(self, means)
        for name, value in means.items():
            # SB3's tables cut long names off, and refuse two that are then the same.
            hidden = TABLES if len(name) > LONGEST_NAME else ()
            self.logger.record(f"train/{name}", value, exclude=hidden)

    def _may_train(self) -> bool:
        assert self.replay_buffer is not None
        if self.learning_starts is not None:
            return self.num_timesteps > self.learning_starts
        enough = self.replay_buffer.n_windows() >= self.batch_size * self.batch_length
        return enough or self.replay_buffer.full

    def _take_due_updates(self, steps: int) -> int:
        """
        Return how many updates follow a collection, and count them as made.

        The fraction that is left over is kept. The warm-up is not caught up on: the first time
        an update is allowed gives exactly one (reference ``when.Ratio``).

        :param steps: steps just collected, all environments together
        """
        if not self._may_train():
            return 0
        if self.gradient_steps is not None:
            return self.gradient_steps if self.gradient_steps >= 0 else steps
        if self._updates_due is None:
            self._updates_due = 1.0
        else:
            self._updates_due += steps * self.train_ratio / (self.batch_size * self.batch_length)
        updates = int(self._updates_due)
        self._updates_due -= updates
        return updates

    def _check_statistics(self) -> None:
        """Refuse to read a replay whose observations nothing says how to normalize."""
        if self._normalized and self.get_vec_normalize_env() is None:
            raise ValueError(
                "The agent learned behind a VecNormalize, and the replay holds what that one saw. "
                "Load the agent with an environment behind the same: load(path, env=...)."
            )
