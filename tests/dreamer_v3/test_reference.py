"""
DreamerV3 against its authors' code (JAX): the same parameters, batches and random draws.

The authors' numbers are 22 MB and lie outside of the repository: in ``shared/reference`` beside the
checkout, or where ``DREAMZOO_REFERENCE`` says. Without them these tests are skipped, and
``test_drift.py`` still notices a change.
"""

from collections import defaultdict
from itertools import pairwise

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from torch import Tensor

from dreamzoo.common.buffers import SequenceReplayBuffer
from dreamzoo.common.policies.world_model import ActingState
from dreamzoo.nn.distributions import mix_uniform, soft_bernoulli_loss
from dreamzoo.nn.rssm.dynamics import Latent
from tests.dreamer_v3.reference import FOLDER, LENGTH, ROWS, Reference

pytestmark = pytest.mark.skipif(
    not FOLDER.is_dir(), reason=f"the authors' numbers are not in {FOLDER}"
)

#: Our name of every term of the loss, and theirs.
TERMS = {
    "reward": "rew",
    "cont": "con",
    "dyn": "dyn",
    "rep": "rep",
    "actor": "policy",
    "critic": "value",
    "replay_critic": "repval",
}
#: Some bins of the two-hot heads get gradients of denormal size, which XLA flushes to zero; the
#: optimizer makes a whole step of them here and none there.
FLUSHED = ("reward.out.weight", "critic.out.weight", "critic_target.out.weight")
#: Trained steps of the windows in the authors' replay.
LENGTH_OF_WINDOWS = 6


@pytest.fixture(params=["cont", "disc", "img"])
def reference(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Reference:
    return Reference(request.param, monkeypatch)


def assert_close(here: Tensor, there: Tensor, tolerance: float = 1e-5) -> None:
    """Compare up to a part of the largest number."""
    assert here.shape == there.shape
    scale = there.double().abs().max().item()
    error = (here.detach().double() - there.double()).abs().max().item()
    assert error <= tolerance * scale, f"{error:.2e} at a scale of {scale:.2e}"


def test_networks_equal_the_authors(reference: Reference) -> None:
    model, policy, latent = reference.model, reference.policy, reference.latent()
    feat, inputs = latent.feat, model.inputs(reference.observation("a/in"))
    tokens = reference.get("a/tokens")
    if reference.kind == "img":  # by place, then channel there
        tokens = tokens.view(len(feat), 16, -1).transpose(1, 2).flatten(1)
    assert_close(model.encoder(inputs), tokens)
    encoded = policy.action_codec.encode(reference.action("a/in/action"))
    assert th.equal(encoded, reference.get("a/in/emb"))
    assert_close(model.imagine_step(latent, encoded).deter, reference.get("a/core"))
    assert_close(model.dynamics.prior(latent.deter).probs, reference.get("a/prior"))

    heads = {
        "rew_logits": model.reward(feat),
        "rew_mean": model.reward.mean(feat),
        "con_logit": model.cont(feat)[:, 0],
        "con_prob": model.reward_and_discount(feat)[1],
        "con_loss": soft_bernoulli_loss(model.cont(feat)[:, 0], th.linspace(0, 1, len(feat))),
        "val_logits": policy.critic(feat),
        "val_mean": policy.critic.mean(feat),
        "slow_mean": policy.critic_target.mean(feat),
        "twohot_loss": model.reward.loss(
            model.reward(feat), reference.get("a/heads/twohot_target")
        ),
    }
    for name, here in heads.items():
        assert_close(here, reference.get(f"a/heads/{name}"))

    (predicted,) = model.decoder(feat).values()
    expected = reference.get(f"a/heads/dec_{reference.key}")
    assert_close(predicted, expected.movedim(-1, -3) if reference.kind == "img" else expected)
    (loss,) = model.decoder.loss(model.decoder(feat), inputs).values()
    assert_close(loss, reference.get(f"a/heads/decloss_{reference.key}"))


def test_policy_equals_the_authors(reference: Reference) -> None:
    pi = reference.policy.actor(reference.latent().feat)
    action = reference.action("a/in/action")
    assert_close(pi.log_prob(action), reference.get("a/heads/pol_logp"))
    assert_close(pi.entropy(), reference.get("a/heads/pol_ent"))
    if reference.kind == "disc":
        assert_close(pi.probs[0], reference.get("a/heads/pol_logits").softmax(-1))
    else:
        assert_close(pi.mean, reference.get("a/heads/pol_mean"))
        assert_close(pi.std, reference.get("a/heads/pol_std"))


def test_acting_equals_the_authors(reference: Reference) -> None:
    latent = Latent(*(part[:8] for part in reference.latent()))
    before = ActingState(latent, reference.get("a/in/emb")[:8])
    action, after = reference.policy.step(
        reference.observation("act"), before, reference.get("act/is_first")
    )
    assert_close(action, reference.action("act/action"))
    assert_close(after.latent.deter, reference.get("act/deter"))
    assert th.equal(after.latent.stoch, reference.get("act/stoch"))


def test_losses_and_gradients_equal_the_authors(reference: Reference) -> None:
    agent, batch = reference.agent, reference.batch()
    losses, _, latents = agent.losses(batch)
    assert_close(latents["deter"], reference.get("b/entries/deter"))
    assert th.equal(latents["stoch"].long(), reference.get("b/entries/stoch").argmax(-1))
    for term, there in {"recon": reference.key, **TERMS}.items():
        assert_close(losses[term], reference.get(f"b/losses/{there}").mean(), 2e-6)
    assert set(losses) == {"recon", *TERMS}

    total = th.stack(list(agent._weigh(losses).values())).sum()
    # Their total of pixels is 4e-5 off the sum of their own terms.
    assert_close(total, reference.get("b/loss"), 5e-5 if reference.kind == "img" else 2e-6)
    total.backward()
    for name, parameter in reference.policy.named_parameters():
        if parameter.requires_grad:
            gradient = reference.here(f"G/{reference.origins[name].name}", name)
            assert parameter.grad is not None
            assert_close(parameter.grad, gradient, 5e-5 if reference.kind == "img" else 1e-5)


def test_every_step_of_the_model_loss_equals_the_authors(reference: Reference) -> None:
    model, batch = reference.model, reference.batch()
    filtered = reference.agent.observe_batch(batch)
    feat, (post, prior) = filtered.latent.feat, filtered.belief
    assert_close(post.probs, mix_uniform(reference.get("b/logit"), 0.01))
    kl = post.kl(prior).clamp(min=1.0)
    alive = (1.0 - batch.is_terminal.float()) * reference.agent.gamma
    terms = {
        "dyn": kl,
        "rep": kl,
        "con": soft_bernoulli_loss(model.cont(feat)[..., 0], alive),
        "rew": model.reward.loss(model.reward(feat), batch.rewards),
    }
    for name, here in terms.items():
        assert_close(here, reference.get(f"b/losses/{name}"))


def test_whole_updates_equal_the_authors(reference: Reference) -> None:
    agent, batch = reference.agent, reference.batch()
    assert agent.replay_buffer is not None
    agent.replay_buffer._count[:] = 500  # its records are all there
    for update in range(6):
        metrics = agent._update(batch)
        terms = {k.removesuffix("_loss"): v for k, v in metrics.items() if k.endswith("_loss")}
        total = sum(term.item() for term in agent._weigh(terms).values())
        tolerance = 5e-5 if reference.kind == "img" else 1e-6  # as above
        assert total == pytest.approx(reference.numbers[f"T{update}/loss"].item(), rel=tolerance)
        if update in (0, 5):
            _compare_parameters(reference, update)
        if update == 0:
            _compare_written_latents(reference)


def _compare_parameters(reference: Reference, update: int) -> None:
    rounding = 2e-5 if reference.kind == "img" else 1e-6
    for name, parameter in reference.policy.named_parameters():
        there = reference.origins[name].name
        total, squares, size = reference.numbers[f"T{update}/Psum/{there}"]
        here = parameter.detach().double()
        tolerance = 2e-3 if name.endswith(FLUSHED) else rounding
        assert here.numel() == size
        assert here.square().sum().item() == pytest.approx(squares, rel=tolerance), name
        spread = (size * squares) ** 0.5  # what the sum would be without signs, about
        assert here.sum().item() == pytest.approx(total, abs=tolerance * spread), name
    normalizer = reference.policy.return_normalizer
    for name, value in (("lo", normalizer.low_value), ("hi", normalizer.high_value)):
        expected, _, _ = reference.numbers[f"T{update}/Psum/retnorm/{name}/value"]
        assert value.item() == pytest.approx(expected, rel=2e-5)


def _compare_written_latents(reference: Reference) -> None:
    buffer = reference.agent.replay_buffer
    assert buffer is not None
    deter, stoch = (
        buffer.latents[name][: ROWS * (LENGTH + 1), 0].reshape(ROWS, LENGTH + 1, -1)[:, 1:]
        for name in ("deter", "stoch")
    )
    assert_close(th.as_tensor(deter), reference.get("T0/replay/dyn/deter"))
    assert th.equal(th.as_tensor(stoch).long(), reference.get("T0/replay/dyn/stoch").argmax(-1))


def test_windows_of_the_replay_equal_the_authors() -> None:
    """Two streams of twelve episodes; every window that either replay can give."""
    with np.load(FOLDER / "replay_windows.npz") as file:
        there = dict(file)
    # By the number of the record; the first of a stream is in no window but as its context. An
    # episode that was abandoned has an end only where the window shows the next one.
    shown = {name: _by_record(there["w/obs"], there[f"w/{name}"]) for name in ("last", "term")}
    ends = {number: all(last) for number, last in shown["last"].items()}
    cuts = {number: any(last) and not ends[number] for number, last in shown["last"].items()}
    terminal = {number: all(term) for number, term in shown["term"].items()}
    found, online = {}, []
    for stream in (range(1, 48), range(48, 93)):
        buffer = _fill(list(stream), ends, cuts, terminal)
        online += [buffer.observations[start, 0, 0] for _, start in buffer._online]
        starts = np.arange(len(stream) - LENGTH_OF_WINDOWS)
        batch = buffer._gather(np.zeros(len(starts), int), starts, LENGTH_OF_WINDOWS + 1, 1, None)
        assert isinstance(batch.observations, Tensor)
        for row in range(len(starts)):
            found[batch.observations[row, 0, 0].item()] = {
                "obs": batch.observations[row, :, 0],
                "prevact": batch.actions[row, :, 0],
                "reward": batch.rewards[row],
                "first": batch.is_first[row],
                "last": batch.is_last[row],
                "term": batch.is_terminal[row],
                "deter": batch.latents["deter"][row],
                "stoch": batch.latents["stoch"][row],
            }
    assert sorted(online) == sorted(there["online"])
    assert sorted(found) == sorted(there["w/obs"][:, 0])
    for row, number in enumerate(there["w/obs"][:, 0]):
        for name, here in found[number].items():
            expected, first = there[f"w/{name}"][row], there["w/first"][row]
            # Nobody reads the state and the action that precede an episode.
            if name in ("deter", "stoch") and first[0]:
                continue
            read = ~first if name == "prevact" else ...
            np.testing.assert_array_equal(here.numpy()[read], expected[read], name)


def _by_record(numbers: np.ndarray, flags: np.ndarray) -> dict[int, list[bool]]:
    """Collect what all windows say of a record."""
    found: dict[int, list[bool]] = defaultdict(list)
    for number, flag in zip(numbers.ravel(), flags.ravel(), strict=True):
        found[int(number)].append(bool(flag))
    return found


def _fill(
    stream: list[int], ends: dict[int, bool], cuts: dict[int, bool], terminal: dict[int, bool]
) -> SequenceReplayBuffer:
    """Store the records of one stream, of which everything follows from their numbers."""
    buffer = SequenceReplayBuffer(
        1_000,
        spaces.Box(-np.inf, np.inf, (1,), np.float32),
        spaces.Box(-1e3, 1e3, (1,), np.float32),
        device="cpu",
        batch_length=LENGTH_OF_WINDOWS,
        latents={"deter": ((2,), np.float32), "stoch": ((1,), np.uint8)},
    )
    for number, following in pairwise(stream):
        if ends.get(number):
            continue  # stored together with the step that led there
        latents = {"deter": np.array([[number, -number]]), "stoch": np.array([[number % 3]])}
        buffer.stage_latents(latents)
        buffer.add(
            np.array([[number]]),
            np.array([[following]]),
            np.array([[number + 0.25]]),
            np.array([following / 2]),
            np.array([ends[following]]),
            [{"TimeLimit.truncated": ends[following] and not terminal[following]}],
        )
        if cuts.get(number):
            buffer.start_new_episodes()
    return buffer
