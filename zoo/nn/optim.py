"""LaProp with adaptive gradient clipping and warm-up: DreamerV3's one optimizer."""

from collections.abc import Callable, Iterable
from typing import Any

import torch as th
from torch import Tensor


class LaProp(th.optim.Optimizer):
    """
    Normalise gradients by their running size first, then apply momentum (LaProp).

    Adam does it the other way round. Before that, every tensor's gradient is clipped to
    ``agc`` times the norm of its parameters (adaptive gradient clipping, per tensor).
    Reference opt.py; constants of DreamerV3, table 4, beta2 of its code.

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
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            if params:
                self._update_group(group, params)
        return loss

    def _update_group(self, group: dict[str, Any], params: list[Tensor]) -> None:
        for p in params:
            if not self.state[p]:
                self.state[p]["square"] = th.zeros_like(p)
                self.state[p]["momentum"] = th.zeros_like(p)
        squares = [self.state[p]["square"] for p in params]
        momenta = [self.state[p]["momentum"] for p in params]
        beta1, beta2 = group["betas"]
        group["n_updates"] += 1
        n = group["n_updates"]

        grads = _clip_adaptively(params, group["agc"], group["agc_floor"])
        th._foreach_mul_(squares, beta2)
        th._foreach_addcmul_(squares, grads, grads, value=1 - beta2)
        size = th._foreach_div(squares, 1 - beta2**n)
        th._foreach_sqrt_(size)
        th._foreach_add_(size, group["eps"])
        th._foreach_lerp_(momenta, th._foreach_div(grads, size), 1 - beta1)
        warm = min((n - 1) / group["warmup"], 1.0) if group["warmup"] else 1.0
        th._foreach_add_(params, momenta, alpha=-group["lr"] * warm / (1 - beta1**n))


def _clip_adaptively(params: list[Tensor], agc: float, floor: float) -> list[Tensor]:
    grads = [p.grad for p in params if p.grad is not None]
    if agc == 0.0:
        return grads
    limit = agc * th.stack(th._foreach_norm(params)).clamp(min=floor)
    factor = 1 / (th.stack(th._foreach_norm(grads)) / limit).clamp(min=1.0)
    return list(th._foreach_mul(grads, list(factor.unbind())))
