"""Returns of the Dreamers: lambda returns in imagination and on replay, and their normalizer."""

import torch as th
from torch import Tensor, nn

from dreamzoo.nn.fast.kernels import uses_triton
from dreamzoo.nn.fast.ranks import of_all
from dreamzoo.nn.fast.switch import needs_graph


def lambda_return(reward: Tensor, cont: Tensor, value: Tensor, lambda_: float) -> Tensor:
    """
    Compute lambda returns along imagined time (DreamerV3, eq. 5, with the index of the code).

    R_i = r_{i+1} + c_{i+1} ((1 - lambda) v_{i+1} + lambda R_{i+1}), R_H = v_H. The value inside
    the bracket belongs to step i + 1; the formula printed in the paper shows v_i.

    Example:
        >>> import torch
        >>> from dreamzoo.nn.returns import lambda_return
        >>> reward = torch.tensor([[0.0], [1.0], [1.0]])  # of arriving; the first is not used
        >>> discount, value = torch.full((3, 1), 0.5), torch.full((3, 1), 4.0)
        >>> lambda_return(reward, discount, value, 0.0).flatten()  # one step, then the value
        tensor([3., 3.])
        >>> lambda_return(reward, discount, value, 1.0).flatten()  # all rewards
        tensor([2.5000, 3.0000])

    :param reward: reward of arriving at states 0..H, (H + 1, N); entry 0 is not used
    :param cont: discount of states 0..H, already contains gamma, (H + 1, N); entry 0 not used
    :param value: values of states 0..H, (H + 1, N)
    :param lambda_: 0 is one-step bootstrapping, 1 is Monte Carlo
    :return: returns of states 0..H-1, (H, N)
    """
    if uses_triton(value) and not needs_graph():
        from dreamzoo.nn.fast.triton import returns as triton_returns

        return triton_returns.lambda_return(reward, cont, value, lambda_)
    returns = [value[-1]]
    for i in reversed(range(len(reward) - 1)):
        target = (1 - lambda_) * value[i + 1] + lambda_ * returns[-1]
        returns.append(reward[i + 1] + cont[i + 1] * target)
    return th.stack(returns[:0:-1])


def inclusive_lambda_return(
    reward: Tensor, discount: Tensor, value: Tensor, lambda_: float
) -> Tensor:
    """
    Compute lambda returns that begin with a state's own reward, with gradient.

    T_k = r_k + d_k ((1 - lambda) v_{k+1} + lambda T_{k+1}), T_H = v_H (Dreamer, eq. 6; DreamerV2,
    eq. 4; both with the index of their code). The return of a state includes the reward of arriving
    there, which :func:`lambda_return` leaves to the state before.

    Example:
        >>> import torch
        >>> from dreamzoo.nn.returns import inclusive_lambda_return
        >>> reward = torch.tensor([[1.0], [1.0], [0.0]])  # of arriving; the last is not used
        >>> discount, value = torch.full((3, 1), 0.5), torch.full((3, 1), 4.0)
        >>> inclusive_lambda_return(reward, discount, value, 0.0).flatten()
        tensor([3., 3.])
        >>> inclusive_lambda_return(reward, discount, value, 1.0).flatten()
        tensor([2.5000, 3.0000])

    :param reward: reward of arriving at states 0..H, (H + 1, N); the last is not used
    :param discount: discount after states 0..H, (H + 1, N); the last is not used
    :param value: values of states 0..H, of returns that include their own rewards, (H + 1, N)
    :param lambda_: 0 is one-step bootstrapping, 1 is Monte Carlo
    :return: returns of states 0..H-1, (H, N)
    """
    returns = [value[-1]]
    for k in reversed(range(len(reward) - 1)):
        target = (1 - lambda_) * value[k + 1] + lambda_ * returns[-1]
        returns.append(reward[k] + discount[k] * target)
    return th.stack(returns[:0:-1])


def discount_weights(discount: Tensor) -> Tensor:
    """
    Compute how likely an imagined episode is to reach each state, times gamma: without gradient.

    w_0 = 1, w_k = d_0 ... d_{k-1} (Dreamer and DreamerV2, code). A start that is terminal has
    d_0 = 0, so that nothing imagined after it counts.

    Example:
        >>> import torch
        >>> from dreamzoo.nn.returns import discount_weights
        >>> discount_weights(torch.tensor([0.9, 0.0, 0.9]))  # the episode ends in the second state
        tensor([1.0000, 0.9000, 0.0000])

    :param discount: discount after states 0..H, (H + 1, N)
    :return: weights of states 0..H, (H + 1, N)
    """
    ones = th.ones_like(discount[:1])
    return th.cat([ones, discount[:-1].detach()]).cumprod(0)


def replay_return(
    reward: Tensor,
    is_last: Tensor,
    is_terminal: Tensor,
    bootstrap: Tensor,
    gamma: float,
    lambda_: float,
) -> Tensor:
    """
    Compute lambda returns of replayed rewards (reference agent.py, repl_loss).

    A time limit (last but not terminal) bootstraps fully from its last state; a termination
    ends the return; a step after which the window ends bootstraps from the window's end.

    Example:
        >>> import torch
        >>> from dreamzoo.nn.returns import replay_return
        >>> reward, value = torch.ones(1, 3), torch.full((1, 3), 4.0)
        >>> end = torch.tensor([[0.0, 0.0, 1.0]])
        >>> replay_return(reward, end, end, value, gamma=0.5, lambda_=1.0)  # the episode is over
        tensor([[1.5000, 1.0000]])
        >>> replay_return(reward, end, 0 * end, value, gamma=0.5, lambda_=1.0)  # a time limit
        tensor([[2.5000, 3.0000]])

    :param reward: reward of arriving at step t, (B, T)
    :param is_last: last record of an episode, float, (B, T)
    :param is_terminal: true termination, float, (B, T)
    :param bootstrap: value estimate of every step, (B, T)
    :param gamma: discount
    :param lambda_: mixes one-step and long returns
    :return: returns of steps 0..T-2, (B, T - 1)
    """
    if uses_triton(reward) and not needs_graph():
        from dreamzoo.nn.fast.triton import returns as triton_returns

        given = reward, is_last, is_terminal, bootstrap
        return triton_returns.replay_return(*given, gamma, lambda_)
    live = (1 - is_terminal) * gamma
    mix = (1 - is_last) * lambda_
    returns = [bootstrap[:, -1]]
    for t in reversed(range(reward.shape[1] - 1)):
        target = (1 - mix[:, t + 1]) * bootstrap[:, t + 1] + mix[:, t + 1] * returns[-1]
        returns.append(reward[:, t + 1] + live[:, t + 1] * target)
    if len(returns) == 1:
        return bootstrap[:, :0]
    return th.stack(returns[:0:-1], dim=1)


def window_advantages(
    reward: Tensor, value: Tensor, bootstrap: Tensor, is_last: Tensor, gamma: float, lambda_: float
) -> Tensor:
    """
    Compute generalized advantages along a window of several episodes (Schulman et al., 2016).

    delta_t = r_t + gamma v' - v_t, A_t = delta_t + gamma lambda A_{t+1}; v' is the value of the
    next step, or ``bootstrap`` where that belongs to another episode or is outside of the window.

    Example:
        >>> import torch
        >>> from dreamzoo.nn.returns import window_advantages
        >>> reward, value = torch.tensor([[1.0, 1.0, 1.0]]), torch.zeros(1, 3)
        >>> is_last = torch.tensor([[False, True, False]])  # the second step ends an episode
        >>> beyond = torch.tensor([[0.0, 0.0, 8.0]])  # what is expected after the window
        >>> window_advantages(reward, value, beyond, is_last, 0.5, 1.0)
        tensor([[1.5000, 1.0000, 5.0000]])

    :param reward: that followed step t, (n, T)
    :param value: of step t, (n, T)
    :param bootstrap: of what follows steps whose successor is not in the window, (n, T)
    :param is_last: bool, steps after which an episode ended, (n, T)
    :param gamma: discount
    :param lambda_: 0 is one-step advantages, 1 is Monte Carlo
    :return: (n, T)
    """
    go_on = (~is_last).to(value.dtype)
    advantages, following = [], th.zeros_like(value[:, 0])
    for t in reversed(range(value.shape[1])):
        after = bootstrap[:, t]
        if t + 1 < value.shape[1]:
            after = th.where(is_last[:, t], after, value[:, t + 1])
        delta = reward[:, t] + gamma * after - value[:, t]
        following = delta + gamma * lambda_ * go_on[:, t] * following
        advantages.append(following)
    return th.stack(advantages[::-1], dim=1)


class ReturnNormalizer(nn.Module):
    """
    Moving range between two percentiles of the returns (DreamerV3, eq. 7).

    The two percentiles are averaged separately, start at zero and are not debiased; the range
    divides advantages only where it exceeds ``limit``, so small returns are never blown up.

    Example:
        >>> import torch
        >>> from dreamzoo.nn.returns import ReturnNormalizer
        >>> normalizer = ReturnNormalizer(rate=1.0)
        >>> normalizer.update(torch.linspace(0.0, 100.0, 101))
        >>> normalizer.scale  # from the 5th to the 95th percentile
        tensor(90.)
        >>> normalizer.update(torch.linspace(0.0, 0.1, 101))
        >>> normalizer.scale  # small returns are not blown up
        tensor(1.)

    :param rate: weight of the newest percentile
    :param low: lower percentile as a fraction
    :param high: upper percentile as a fraction
    :param limit: smallest scale
    """

    low_value: Tensor
    high_value: Tensor

    def __init__(
        self, rate: float = 0.01, low: float = 0.05, high: float = 0.95, limit: float = 1.0
    ) -> None:
        super().__init__()
        self.rate, self.low, self.high, self.limit = rate, low, high, limit
        self.register_buffer("low_value", th.zeros(()))
        self.register_buffer("high_value", th.zeros(()))

    @th.no_grad()
    def update(self, returns: Tensor) -> None:
        """Move both percentiles towards those of ``returns``, any shape."""
        flat = of_all(returns.detach().float().flatten())
        ordered = flat.sort().values  # th.quantile takes several times as long for this
        # Returns that are not finite stop the training; the model saved then must be good.
        usable = th.isfinite(ordered[:: max(len(ordered) - 1, 1)]).all()  # first and last
        for value, fraction in ((self.low_value, self.low), (self.high_value, self.high)):
            position = fraction * (len(flat) - 1)
            below = int(position)
            above = min(below + 1, len(flat) - 1)
            new = th.lerp(ordered[below], ordered[above], position - below)
            value.copy_(th.where(usable, th.lerp(value, new, self.rate), value))

    @property
    def scale(self) -> Tensor:
        """Divisor of advantages, a scalar tensor."""
        return (self.high_value - self.low_value).clamp(min=self.limit)
