"""The small face of a world model."""

import numpy as np
import pytest
import torch as th
from gymnasium import spaces

from dreamzoo.dreamer_v3.policies import DreamerV3WorldModel
from dreamzoo.dreamer_v3.sizes import SIZES
from dreamzoo.nn.latent_model import LatentModel
from dreamzoo.nn.networks.encoders import Encoder
from dreamzoo.nn.observations import ObservationCodec
from dreamzoo.nn.rssm.dynamics import Latent
from tests.nn.widths import of_encoder

GAMMA = 0.9


@pytest.fixture
def model() -> DreamerV3WorldModel:
    codec = ObservationCodec(spaces.Box(-np.inf, np.inf, (3,)))
    size = SIZES["debug"]
    return DreamerV3WorldModel(codec, Encoder(codec, **of_encoder(size)), 2, size, GAMMA)


def test_observe_equals_observe_sequence(model: DreamerV3WorldModel) -> None:
    obs, actions = th.randn(4, 5, 3), th.randn(4, 5, 2)
    first = th.zeros(4, 5, dtype=th.bool)
    first[2, 3] = True
    states = model.observe_sequence(
        model.initial(4), actions, obs, first, th.Generator().manual_seed(1)
    ).latent
    latent, generator = model.initial(4), th.Generator().manual_seed(1)
    for t in range(5):
        latent = model.observe(latent, actions[:, t], obs[:, t], first[:, t], generator)
        th.testing.assert_close(latent.deter, states.deter[:, t])
        th.testing.assert_close(latent.stoch, states.stoch[:, t])


def test_what_is_done_at_once_is_what_follows_step_by_step(model: DreamerV3WorldModel) -> None:
    """A model whose state is another has only the calls of a single step, and the general forms."""
    obs, actions = th.randn(4, 5, 3), th.randn(4, 5, 2)
    first = th.zeros(4, 5, dtype=th.bool)
    first[2, 3] = True
    latent, given = model.first_state(4, th.Generator().manual_seed(0)), actions.transpose(0, 1)
    for kind in (DreamerV3WorldModel, LatentModel):
        generator = th.Generator().manual_seed(1)
        seen = kind.filter(model, model.initial(4), actions, obs, first, generator)
        dreamt = kind.imagine_sequence(model, latent, given, generator)
        if kind is DreamerV3WorldModel:
            expected = seen, dreamt
        else:
            th.testing.assert_close((*seen, *dreamt), (*expected[0], *expected[1]))
    assert dreamt.deter.shape == (6, 4, 8)
    anew = LatentModel.first_state(model, 4, th.Generator().manual_seed(0))
    assert all(map(th.equal, anew, latent))


def test_initial_latent_is_zero(model: DreamerV3WorldModel) -> None:
    assert not any(part.any() for part in model.initial(3))


def test_new_model_predicts_no_reward_at_all(model: DreamerV3WorldModel) -> None:
    latent = Latent(th.randn(7, 8), th.randn(7, 2, 4))
    assert th.equal(model.predict(latent)[0], th.zeros(7))


def test_discount_contains_gamma_and_predict_does_not(model: DreamerV3WorldModel) -> None:
    """Pitfall 6: the continue head has learned gamma already; applying it again is double."""
    model.cont.out.weight.data.zero_()
    model.cont.out.bias.data.fill_(float(np.log(GAMMA / (1 - GAMMA))))
    latent = Latent(th.randn(7, 8), th.randn(7, 2, 4))
    _, discount = model.reward_and_discount(latent.feat)
    th.testing.assert_close(discount, th.full((7,), GAMMA))
    th.testing.assert_close(model.predict(latent)[1], th.ones(7))
    model.cont.out.bias.data.fill_(50.0)
    assert float(model.predict(latent)[1].detach().max()) <= 1.0


def test_gamma_that_never_changed_stays_exactly_what_it_was(model: DreamerV3WorldModel) -> None:
    before = model.learned_gamma.clone()
    for discount in (0.0, 0.5, 0.95, 1.0, float("nan")):
        flags = th.tensor([[False, True], [False, False]])
        model.follow_gamma(th.full((2, 2), discount), flags, GAMMA)
        assert th.equal(model.learned_gamma, before)
    assert model.gamma == pytest.approx(GAMMA)


@pytest.mark.parametrize(
    ("gamma", "predicted", "learned"),
    [
        (0.5, [0.9, 0.8, 0.85, 0.6, 0.4], [0.9, 0.8, 0.8, 0.6, 0.5]),  # down, never up again
        (0.99, [0.9, 0.95, 0.92, 0.97, 1.0], [0.9, 0.95, 0.95, 0.97, 0.99]),
    ],
)
def test_gamma_follows_what_the_continue_head_predicts(
    model: DreamerV3WorldModel, gamma: float, predicted: list[float], learned: list[float]
) -> None:
    """Terminal steps predict nothing of gamma, nor does a batch of nothing else."""
    terminal = th.zeros(4, 10, dtype=th.bool)
    terminal[:, 5:] = True
    for p, expected in zip(predicted, learned, strict=True):
        discount = th.full((4, 10), p)
        discount[:, 0] = 0.1  # an end is coming there
        model.follow_gamma(th.where(terminal, 1.0, discount), terminal, gamma)
        assert model.gamma == pytest.approx(expected)
        model.follow_gamma(discount, th.ones_like(terminal), gamma)
        assert model.gamma == pytest.approx(expected)


def test_gamma_is_a_high_quantile_of_live_steps(model: DreamerV3WorldModel) -> None:
    discount = 0.5 + 0.01 * th.arange(11.0)
    model.follow_gamma(discount[None], th.zeros(1, 11, dtype=th.bool), 0.4)
    assert model.gamma == pytest.approx(0.59)


def test_learned_gamma_is_part_of_the_state(model: DreamerV3WorldModel) -> None:
    model.learned_gamma.fill_(0.7)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    model.learned_gamma.fill_(GAMMA)
    model.load_state_dict(state)
    assert model.gamma == pytest.approx(0.7)
    del state["learned_gamma"]  # a file of an earlier version
    model.learned_gamma.fill_(GAMMA)
    model.load_state_dict(state)
    assert model.gamma == pytest.approx(GAMMA)


def test_predictions_keep_leading_axes(model: DreamerV3WorldModel) -> None:
    latent = Latent(th.randn(2, 6, 8), th.randn(2, 6, 2, 4))
    assert all(part.shape == (2, 6) for part in model.predict(latent))


def test_imagination_is_driven_by_the_generator(model: DreamerV3WorldModel) -> None:
    action = th.randn(50, 2)
    steps = [
        model.imagine_step(model.initial(50), action, th.Generator().manual_seed(s)).stoch
        for s in (0, 0, 1)
    ]
    assert th.equal(steps[0], steps[1])
    assert not th.equal(steps[0], steps[2])
