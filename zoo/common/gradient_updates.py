"""What the updates of all agents share: weights of losses, guarded gradients, one log a call."""

from abc import abstractmethod
from collections.abc import Hashable, Mapping, Sequence
from functools import reduce
from typing import Any, ClassVar

import torch as th
from stable_baselines3.common.utils import update_learning_rate
from torch import Tensor

from dreamzoo.common.policies.recurrent import RecurrentPolicy
from dreamzoo.common.ranked import Ranked
from dreamzoo.common.settings import check_rate
from dreamzoo.common.training import (
    Losses,
    MeanMetrics,
    Outcome,
    check_finite_losses,
    check_means,
    guard_gradients,
    total,
)
from dreamzoo.nn.fast import graphs, ranks
from dreamzoo.nn.fast.threads import backward_in_parallel
from dreamzoo.nn.settings import at_step

#: Formats of SB3's logger that show tables, and the longest name that these show whole.
TABLES, LONGEST_NAME = ("stdout", "log"), 33


class GradientUpdates(Ranked):
    """
    Algorithm whose losses have names and weights, and whose gradients destroy no parameter.

    Agents implement :meth:`losses`.

    :param args: of SB3's algorithm
    :param kwargs: of SB3's algorithm
    """

    policy: RecurrentPolicy
    #: Terms of the loss whose graphs have nothing in common with those of the others.
    apart: ClassVar[tuple[str, ...]] = ()
    #: The gradient of every optimizer is scaled down to this norm; None: never.
    max_grad_norm: float | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._moving: dict[str, Tensor] = {}
        super().__init__(*args, **kwargs)

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "_moving"]

    @abstractmethod
    def losses(self, batch: Any) -> Losses:
        """
        Compute every term of the loss on one batch, with gradient.

        On CUDA this is recorded once, with the optimizer's step, and repeated: its launches may
        depend on settings, shapes and :meth:`_course`, not on values, and nothing in it may wait
        for the device.

        :param batch: a :class:`SequenceBatch` of B rows and T steps; of an agent that learns from
            what it has just done, a :class:`RolloutWindow`
        """

    def _learn_from(self, batch: Any) -> Outcome:
        """Compute losses and gradients of one batch, under the same conditions."""
        averages = self._averages()
        before = [average.clone() for average in averages]
        with ranks.joint_losses():
            terms, metrics, latents = self.losses(batch)
        loss, parts = self._add_up(terms)
        loss = ranks.mean_loss(loss)
        good = th.isfinite(loss)
        for average, old in zip(averages, before, strict=True):  # of a bad loss nothing remains
            average.copy_(th.where(good, average, old))
        norms = self._compute_gradients(terms, loss, parts)
        named = {f"{name}_loss": term for name, term in terms.items()}
        return Outcome(named | metrics | norms, latents)

    def _course(self) -> Hashable:
        """Return what the losses' course depends on beside settings; a recording holds for one."""
        return None

    def _averages(self) -> list[Tensor]:
        """Return the moving averages that computing the losses moves."""
        return []

    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        return ["policy", *(f"policy.{name}" for name in self.policy.optimizers)], []

    def _begin_updates(self) -> None:
        """
        Make everything ready to be trained.

        :raises RuntimeError: where gradients are disabled
        """
        if not th.is_grad_enabled():
            raise RuntimeError(
                "Gradients are disabled, and updates need them: call learn() and train() outside "
                "of torch.no_grad() and torch.inference_mode()."
            )
        self.policy.set_training_mode(True)
        own, optimizers = self._own_rates(), self.policy.optimizers
        followers = [x for name, x in optimizers.items() if name not in own]
        self._update_learning_rate(followers)
        for name, rate in own.items():
            update_learning_rate(optimizers[name], rate)
            self.logger.record(f"train/{name.removesuffix('optimizer')}learning_rate", rate)
        for name in self._moving:
            self._now(name)

    def _now(self, name: str) -> float | Tensor:
        """
        Return the value of a setting at this step, see :class:`Line`.

        :param name: of the setting
        :return: of one that moves a scalar tensor, which a recording finds changed
        """
        value = getattr(self, name)
        if not isinstance(value, tuple):
            return value
        if name not in self._moving:
            self._moving[name] = th.zeros((), device=self.device)
        if not graphs.is_recording():
            self._moving[name].fill_(self._on_line(name))
        return self._moving[name]

    def _on_line(self, name: str) -> float:
        """Return where a setting that moves stands at this step, without asking the device."""
        return at_step(getattr(self, name), self.num_timesteps)

    def _own_rates(self) -> dict[str, float]:
        """Return the learning rates of optimizers that do not follow ``learning_rate``, now."""
        return {}

    def _rate(self, name: str) -> float:
        """
        Return a learning rate at this moment.

        :param name: of the setting: a number, or a schedule that gives one
        :raises ValueError: if the schedule gives what is no learning rate
        """
        rate, progress = getattr(self, name), self._current_progress_remaining
        if callable(rate):
            rate = rate(progress)
            check_rate(f"{type(self).__name__}, {name}", rate, progress)
        return float(rate)

    def _setup_lr_schedule(self) -> None:
        super()._setup_lr_schedule()
        self._own_rates()  # a schedule that gives no rate is refused before anything is built

    def _loss_weights(self) -> Mapping[str, float | Tensor]:
        """Return the weights of terms that the loss has; those that are not named weigh 1."""
        return {}

    def _weigh(self, losses: dict[str, Tensor]) -> dict[str, Tensor]:
        """
        Multiply every term of the loss by its weight.

        :raises ValueError: for the weight of a term that is not there: it would weigh nothing
        """
        weights = self._loss_weights()
        if unknown := sorted(weights.keys() - losses.keys()):
            raise ValueError(
                f"{type(self).__name__}._loss_weights() has weights of {', '.join(unknown)}, and "
                f"the terms of the loss are {', '.join(sorted(losses))}. Name terms that are there."
            )
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
        images = bool(self.policy.observation_codec.image_keys)
        return loss, [parts[0] + parts[1]] if images else parts

    def _compute_gradients(
        self, losses: dict[str, Tensor], loss: Tensor, parts: Sequence[Tensor]
    ) -> dict[str, Tensor]:
        """
        Compute the gradients of everything that is trained; none that is not finite remains.

        :param losses: terms of the loss, for the message
        :param loss: the whole loss, with a graph or without
        :param parts: what adds up to it, whose graphs have nothing in common but parameters
        :return: norm of the gradients of every optimizer, before they are clipped: ``grad_norm``,
            or of several ``<name>_grad_norm``
        :raises FloatingPointError: on a CPU, see :func:`check_finite_losses`
        """
        check_finite_losses(self, loss, losses)
        for optimizer in self.policy.optimizers.values():
            optimizer.zero_grad()
        backward_in_parallel(parts)
        norms = {}
        trained = {
            name.removesuffix("optimizer"): [p for g in x.param_groups for p in g["params"]]
            for name, x in self.policy.optimizers.items()
        }
        ranks.average_gradients(p for group in trained.values() for p in group)
        for name, parameters in trained.items():
            grads = [p.grad for p in parameters if p.grad is not None]
            norms[f"{name}grad_norm"] = th.nn.utils.get_total_norm(grads)
        guard_gradients(self, [p for group in trained.values() for p in group], loss, norms)
        largest = self._largest_norms()
        for name, norm in norms.items():
            limit = largest.get(name.removesuffix("grad_norm") + "optimizer", self.max_grad_norm)
            if limit is not None:
                # Of a norm that is not finite nothing may reach gradients that the guard emptied.
                parameters = trained[name.removesuffix("grad_norm")]
                th.nn.utils.clip_grads_with_norm_(parameters, limit, norm.nan_to_num(0.0, 0.0))
        return norms

    def _largest_norms(self) -> dict[str, float]:
        """Return how long the gradients of optimizers may be that ``max_grad_norm`` is not for."""
        return {}

    def _log_means(self, metrics: MeanMetrics) -> None:
        """
        Record the means of one call of ``train`` under SB3's key style.

        :raises FloatingPointError: if one of the updates was not finite
        """
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")
        means = metrics.means()
        means = dict(zip(means, ranks.mean_numbers([*means.values()]), strict=True))
        check_means(self, means)
        for name in self._moving:
            if isinstance(getattr(self, name), tuple):  # still: it may have been set to a number
                self.logger.record(f"train/{name}", self._on_line(name))
        for name, value in means.items():
            # SB3's tables cut long names off, and refuse two that are then the same.
            hidden = TABLES if len(name) > LONGEST_NAME else ()
            self.logger.record(f"train/{name}", value, exclude=hidden)
