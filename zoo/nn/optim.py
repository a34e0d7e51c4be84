"""Optimizers of the Dreamers: LaProp with adaptive clipping, Adam with a decay of its own."""

from collections.abc import Callable, Iterable
from itertools import zip_longest
from typing import Any

import torch as th
from torch import Tensor

from dreamzoo.nn.fast.kernels import uses_triton


class LaProp(th.optim.Optimizer):
    """
    Normalize gradients by their running size first, then apply momentum (LaProp).

    Adam does it the other way round. Before that, every tensor's gradient is clipped to
    ``agc`` times the norm of its parameters (adaptive gradient clipping, per tensor).
    Reference opt.py; constants of DreamerV3, table 4, beta2 of its code.

    Example:
        >>> import torch
        >>> from dreamzoo.nn.optim import LaProp
        >>> weight = torch.nn.Parameter(torch.ones(1))
        >>> optimizer = LaProp([weight], lr=0.1, agc=0.0, warmup=0)
        >>> (1000 * weight).sum().backward()
        >>> optimizer.step()  # as far as with a gradient of any size
        >>> round(weight.item(), 4)
        0.9

    :param params: parameters or groups
    :param lr: step size after warm-up
    :param betas: decay of momentum and of the squared gradient
    :param eps: added outside the square root; 1e-20 is representable in float32, not in float16
    :param agc: largest gradient norm as a share of the parameter norm; 0 turns clipping off
    :param agc_floor: smallest parameter norm that clipping assumes
    :param warmup: updates over which the step size grows linearly from exactly zero
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float = 4e-5,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-20,
        agc: float = 0.3,
        agc_floor: float = 1e-3,
        warmup: int = 1000,
    ) -> None:
        if eps <= 0 or warmup < 0:
            raise ValueError(f"eps={eps} must be positive and warmup={warmup} not negative")
        defaults = dict(
            lr=lr, betas=betas, eps=eps, agc=agc, agc_floor=agc_floor, warmup=warmup, n_updates=0
        )
        super().__init__(params, defaults)

    @th.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Apply one update to every parameter that has a gradient."""
        loss = None
        if closure is not None:
            with th.enable_grad():
                loss = closure()
        self.prepare()
        self.apply()
        return loss

    @th.no_grad()
    def prepare(self) -> None:
        """
        Do the host's part of a step: count it, and compute what follows from the count.

        Off the CPU these numbers are handed over in tensors that stay where they are, so that a
        recorded :meth:`apply` finds the ones of its own step there.
        """
        kept = vars(self).get("_factors", [])  # a group that was added since has none
        self._factors: list[tuple[float, ...] | Tensor] = []
        for group, tensor in zip_longest(self.param_groups, kept):
            group["n_updates"] += 1
            n, (beta1, beta2) = group["n_updates"], group["betas"]
            warm = min((n - 1) / group["warmup"], 1.0) if group["warmup"] else 1.0
            numbers = 1 - beta2**n, group["lr"] * warm / (1 - beta1**n)
            self._factors.append(_hand_over(numbers, tensor, group["params"][0]))
        self._tabulate()

    def _tabulate(self) -> None:
        """Note where everything lies for the step in Triton, from the second step on."""
        kept = vars(self).get("_tables", [])
        self._tables: list[Any] = []
        for group, table in zip_longest(self.param_groups, kept):
            params = group["params"]
            known = all(uses_triton(p) and self.state[p] for p in params)
            if known:
                from dreamzoo.nn.fast.triton import optim as triton_optim

                squares = [self.state[p]["square"] for p in params]
                momenta = [self.state[p]["momentum"] for p in params]
                table = triton_optim.tabulate(params, squares, momenta, table)
            self._tables.append(table if known else None)

    @th.no_grad()
    def apply(self) -> None:
        """Do the device's part of a step, after :meth:`prepare`; it can be recorded."""
        steps = zip(self.param_groups, self._factors, self._tables, strict=True)
        for group, factors, table in steps:
            params = [p for p in group["params"] if p.grad is not None]
            if table is not None and len(params) == len(group["params"]):
                from dreamzoo.nn.fast.triton import optim as triton_optim

                assert isinstance(factors, Tensor)
                grads = [p.grad for p in params if p.grad is not None]
                constants = (group[name] for name in ("betas", "eps", "agc", "agc_floor"))
                triton_optim.step(table, grads, factors, *constants)
                th.autograd.graph.increment_version(params)  # torch has not seen it
            elif params:
                self._update_group(group, params, *factors)

    def _update_group(
        self,
        group: dict[str, Any],
        params: list[Tensor],
        debias: float | Tensor,
        rate: float | Tensor,
    ) -> None:
        """
        Update the parameters of one group.

        :param debias: what the running squares are divided by
        :param rate: what momenta are multiplied by
        """
        for p in params:
            if not self.state[p]:
                self.state[p]["square"] = th.zeros_like(p)
                self.state[p]["momentum"] = th.zeros_like(p)
        squares = [self.state[p]["square"] for p in params]
        momenta = [self.state[p]["momentum"] for p in params]
        beta1, beta2 = group["betas"]

        grads = _clip_adaptively(params, group["agc"], group["agc_floor"])
        th._foreach_mul_(squares, beta2)
        th._foreach_addcmul_(squares, grads, grads, value=1 - beta2)
        size = th._foreach_div(squares, debias)
        th._foreach_sqrt_(size)
        th._foreach_add_(size, group["eps"])
        th._foreach_lerp_(momenta, th._foreach_div(grads, size), 1 - beta1)
        if isinstance(rate, Tensor):
            th._foreach_sub_(params, th._foreach_mul(momenta, rate))
        else:
            th._foreach_add_(params, momenta, alpha=-rate)


class ShrinkingAdam(th.optim.Adam):
    """
    Adam that scales all its parameters down by a fixed share before every step (DreamerV2).

    The share is *not* multiplied by the learning rate, as torch's AdamW does, so that the decay
    is the same for networks of different rates and while a rate changes. Biases and norms shrink
    too (``Optimizer`` of danijar/dreamerv2).

    Example:
        >>> import torch
        >>> from dreamzoo.nn.optim import ShrinkingAdam
        >>> weight = torch.nn.Parameter(torch.ones(2))
        >>> optimizer = ShrinkingAdam([weight], lr=0.0, shrink=0.1)
        >>> optimizer.step()  # whatever the learning rate
        >>> weight.data
        tensor([0.9000, 0.9000])

    :param params: parameters or groups
    :param lr: step size (Atari: 2e-4 for the world model)
    :param betas: decay of both averages
    :param eps: added outside of the square root (DreamerV2, table D.1: 1e-5)
    :param shrink: share taken off every parameter (1e-6)
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float = 2e-4,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-5,
        shrink: float = 1e-6,
    ) -> None:
        if not 0.0 <= shrink < 1.0:
            raise ValueError(f"shrink={shrink} must be at least 0 and less than 1")
        super().__init__(params, lr=lr, betas=betas, eps=eps)
        self.defaults["shrink"] = shrink
        for group in self.param_groups:
            group.setdefault("shrink", shrink)

    @th.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Shrink every parameter, then apply one update to all that have a gradient."""
        loss = None
        if closure is not None:
            with th.enable_grad():
                loss = closure()
        for group in self.param_groups:
            if group["shrink"]:
                th._foreach_mul_(group["params"], 1.0 - group["shrink"])
        super().step()
        return loss


def _hand_over(numbers: tuple[float, ...], kept: Any, like: Tensor) -> tuple[float, ...] | Tensor:
    """
    Bring numbers to where a tensor is.

    :param numbers: on a CPU they are used as they are
    :param kept: what the last call returned; a tensor is written to
    :param like: the tensor
    """
    if like.is_cpu:
        return numbers
    values = th.tensor(numbers, dtype=like.dtype)
    if like.is_cuda:
        values = values.pin_memory()  # from other memory a copy waits for the device
    if not isinstance(kept, Tensor) or kept.device != like.device:
        return values.to(like.device)
    return kept.copy_(values, non_blocking=True)


def _clip_adaptively(params: list[Tensor], agc: float, floor: float) -> list[Tensor]:
    grads = [p.grad for p in params if p.grad is not None]
    if agc == 0.0:
        return grads
    limit = agc * th.stack(th._foreach_norm(params)).clamp(min=floor)
    factor = 1 / (th.stack(th._foreach_norm(grads)) / limit).clamp(min=1.0)
    return list(th._foreach_mul(grads, list(factor.unbind())))
