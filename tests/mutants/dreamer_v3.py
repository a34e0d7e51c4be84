"""Mistakes in DreamerV3's losses, its updates, and how they are wired."""

from tests.mutants.mutant import Mutant

AGENT, POLICY = "zoo/dreamer_v3/dreamer_v3.py", "zoo/dreamer_v3/policies.py"
LOSSES = "zoo/dreamer_v3/losses.py"
RETURNS = "zoo/nn/returns.py"
TESTS = ("tests/dreamer_v3/test_oracle.py", "tests/dreamer_v3/test_drift.py", "tests/dreamer_v3")
NN = ("tests/nn/test_returns.py", *TESTS)


def _agent(what: str, old: str, new: str) -> Mutant:
    return Mutant(f"DreamerV3: {what}", AGENT, old, new, TESTS)


def _loss(what: str, old: str, new: str) -> Mutant:
    return Mutant(f"DreamerV3: {what}", LOSSES, old, new, TESTS)


def _policy(what: str, old: str, new: str) -> Mutant:
    return Mutant(f"DreamerV3: {what}", POLICY, old, new, TESTS)


def _beliefs(what: str, old: str, new: str) -> Mutant:
    return Mutant(f"DreamerV3: {what}", "zoo/nn/beliefs.py", old, new, TESTS)


MUTANTS = [
    _loss(
        "reward targets are those of the step before",
        "model.reward.loss(model.reward(feat), rewards).mean()",
        "model.reward.loss(model.reward(feat), rewards.roll(1, 1)).mean()",
    ),
    _loss(
        "the continue head learns the flags of the step before",
        "alive = (1.0 - is_terminal.float()) * gamma",
        "alive = (1.0 - is_terminal.roll(1, 1).float()) * gamma",
    ),
    _agent(
        "time limits count as terminations",
        "            batch.rewards,\n            batch.is_terminal,\n",
        "            batch.rewards,\n            batch.is_last,\n",
    ),
    _loss(
        "the continue head's targets do not contain gamma",
        "alive = (1.0 - is_terminal.float()) * gamma",
        "alive = 1.0 - is_terminal.float()",
    ),
    _agent(
        "the weights of dyn and rep are swapped",
        '{"dyn": self.dyn_coef, "rep": self.rep_coef,',
        '{"dyn": self.rep_coef, "rep": self.dyn_coef,',
    ),
    _agent(
        "the replay critic's weight is not applied",
        ', "replay_critic": self.replay_vf_coef}',
        "}",
    ),
    _beliefs(
        "the posterior is not held fixed in the dynamics loss",
        "post.detach().kl(prior)",
        "post.kl(prior)",
    ),
    _beliefs(
        "the prior is not held fixed in the representation loss",
        "post.kl(prior.detach())",
        "post.kl(prior)",
    ),
    _beliefs(
        "the KL divergence is turned around",
        "post.detach().kl(prior)",
        "prior.kl(post.detach())",
    ),
    _loss(
        "free nats are clipped after the mean",
        'terms["dyn"] = dyn.clamp(min=free_nats).mean()',
        'terms["dyn"] = dyn.mean().clamp(min=free_nats)',
    ),
    _loss(
        "free nats are not applied to the representation loss",
        'terms["rep"] = rep.clamp(min=free_nats).mean()',
        'terms["rep"] = rep.mean()',
    ),
    _agent(
        "stored context is ignored",
        "        if not batch.latents:\n            return super().start_latent(batch)",
        "        if True:\n            return super().start_latent(batch)",
    ),
    _agent(
        "stored classes are read one off",
        'batch.latents["stoch"].long(), dynamics.classes',
        '(batch.latents["stoch"].long() + 1) % dynamics.classes, dynamics.classes',
    ),
    _agent(
        "imagination starts from the first steps instead of the last",
        "starts = slice(-(self.imagination_last or 0), None)",
        "starts = slice(0, self.imagination_last)",
    ),
    _agent(
        "dreams start in states of the order (t, b)",
        "dream = self.policy.imagine(flatten(latent, 0, 1),",
        "mixed = type(latent)(*(x.transpose(0, 1) for x in latent))\n"
        "        dream = self.policy.imagine(flatten(mixed, 0, 1),",
    ),
    Mutant(
        "DreamerV3: the policy in the dream does not see its own last action",
        "zoo/nn/rssm/block.py",
        "imagination.step(feat[t], encoded,",
        "imagination.step(feat[t], th.zeros_like(encoded),",
        TESTS,
    ),
    _agent(
        "the flags of starts come from other steps",
        "alive = 1.0 - is_terminal.flatten().float()",
        "alive = 1.0 - batch.is_terminal[:, : is_terminal.shape[1]].flatten().float()",
    ),
    _agent(
        "start_cont='data' is ignored",
        'if self.start_cont == "data" else None',
        "if False else None",
    ),
    _agent(
        "gamma is applied a second time in imagination",
        "lambda_return(dream.reward, dream.discount,",
        "lambda_return(dream.reward, dream.discount * self.gamma,",
    ),
    _policy(
        "returns bootstrap from the slow critic",
        "value = th.cat([critic.twohot.mean(logits), critic.mean(feat[-1:])])",
        "value = th.cat([slow_value, slow.mean(feat[-1:])])",
    ),
    _loss(
        "weights of imagined steps are one step late",
        "weight = dream.discount.cumprod(0)[:-1]",
        "weight = dream.discount.cumprod(0)[1:]",
    ),
    _loss(
        "imagined steps are not weighted",
        '{"actor": -(weight * objective).mean(),',
        '{"actor": -objective.mean(),',
    ),
    _loss(
        "the critic's loss is not weighted",
        '"critic": (weight * critic_loss).mean()}',
        '"critic": critic_loss.mean()}',
    ),
    _loss(
        "advantages are not divided by the return scale",
        "advantage = (returns - dream.value[:-1]) / scale",
        "advantage = returns - dream.value[:-1]",
    ),
    _loss(
        "advantages take the value of the next state",
        "advantage = (returns - dream.value[:-1]) / scale",
        "advantage = (returns - dream.value[1:]) / scale",
    ),
    _agent(
        "the return normalizer is never updated",
        "            self.policy.return_normalizer.update(returns)\n",
        "",
    ),
    _loss(
        "entropy is punished",
        "+ ent_coef * dream.entropy",
        "- ent_coef * dream.entropy",
    ),
    _loss(
        "the sign of the actor's loss is wrong",
        '{"actor": -(weight * objective).mean(),',
        '{"actor": (weight * objective).mean(),',
    ),
    _loss(
        "the slow critic's regularizer is missing in imagination",
        "critic.loss(dream.logits, *targets, weights=(1.0, slow_coef))",
        "critic.loss(dream.logits, *targets, weights=(1.0, 0.0))",
    ),
    _policy(
        "reward and discount are swapped",
        "reward, discount = (th.cat(pair) for pair in zip(predicted, last, strict=True))",
        "discount, reward = (th.cat(pair) for pair in zip(predicted, last, strict=True))",
    ),
    _agent(
        "the replay critic bootstraps from the last imagined return",
        "returns[0].view_as(rewards),",
        "returns[-1].view_as(rewards),",
    ),
    _agent(
        "the replay critic's bootstrap has the layout (t, b)",
        "returns[0].view_as(rewards),",
        "returns[0].view_as(rewards.t()).t(),",
    ),
    _loss(
        "the replay critic's loss counts last records, too",
        "return ((1 - ends[:, :-1]) * loss).mean()",
        "return loss.mean()",
    ),
    _loss(
        "the replay critic's mask is that of the next step",
        "return ((1 - ends[:, :-1]) * loss).mean()",
        "return ((1 - ends[:, 1:]) * loss).mean()",
    ),
    _loss(
        "the replay critic's mask counts only terminations",
        "return ((1 - ends[:, :-1]) * loss).mean()",
        "return ((1 - is_terminal.float()[:, :-1]) * loss).mean()",
    ),
    _loss(
        "the replay critic's gradient does not reach the model",
        "loss = critic.loss(critic(feat[:, :-1]), targets, slow, weights=(1.0, slow_coef))",
        "logits = critic(feat[:, :-1].detach())\n"
        "    loss = critic.loss(logits, targets, slow, weights=(1.0, slow_coef))",
    ),
    _loss(
        "the replay critic has no regularizer",
        "loss = critic.loss(critic(feat[:, :-1]), targets, slow, weights=(1.0, slow_coef))",
        "loss = critic.loss(critic(feat[:, :-1]), targets, slow, weights=(1.0, 0.0))",
    ),
    _agent(
        "the replay critic takes rewards of other steps",
        "            latent.feat,\n            rewards,\n",
        "            latent.feat,\n            batch.rewards[:, : rewards.shape[1]],\n",
    ),
    _agent(
        "the slow critic follows ten times as fast",
        "alpha=self.tau)",
        "alpha=10 * self.tau)",
    ),
    _agent(
        "the slow critic never follows",
        "        th._foreach_add_(averages, list[Tensor](critic.parameters()), alpha=self.tau)\n",
        "        th._foreach_mul_(averages, 1 / (1 - self.tau))\n",
    ),
    _agent(
        "refreshed latents are not written back",
        "latents = _to_stored(filtered.latent.detach()) if batch.latents else {}",
        "latents: dict[str, Tensor] = {}",
    ),
    _agent(
        "the latents of the update before are written back",
        "latents = _to_stored(filtered.latent.detach()) if batch.latents else {}",
        "late = type(filtered.latent)(*(x.detach().roll(1, 1) for x in filtered.latent))\n"
        "        latents = _to_stored(late) if batch.latents else {}",
    ),
    _agent(
        "latents that are stored while collecting are zero",
        "return _to_stored(state.latent) if self.replay_context else {}",
        "return {}",
    ),
    Mutant(
        "DreamerV3: actor_unimix is ignored",
        POLICY,
        "self.actor = Actor(widths.feat, actor_arch, self.action_codec, actor_unimix)",
        "self.actor = Actor(widths.feat, actor_arch, self.action_codec)",
        TESTS,
    ),
    Mutant(
        "DreamerV3: unimix is ignored",
        POLICY,
        "                gamma,\n                unimix,\n",
        "                gamma,\n                0.01,\n",
        TESTS,
    ),
    Mutant(
        "DreamerV3: the most likely action is not taken where asked",
        POLICY,
        "return policy.mode() if deterministic else policy.sample(generator)",
        "return policy.sample(generator)",
        ("tests/sb3/test_contract.py", "tests/dreamer_v3"),
    ),
    Mutant(
        "DreamerV3: the slow critic is trained, too",
        POLICY,
        "        self.critic_target.requires_grad_(False)\n",
        "",
        TESTS,
    ),
    Mutant(
        "DreamerV3: the slow critic starts with weights of its own",
        POLICY,
        "        self.critic_target.load_state_dict(self.critic.state_dict())\n",
        "",
        ("tests/dreamer_v3/test_pitfalls.py", *TESTS),
    ),
    Mutant(
        "lambda return: the value of the state itself",
        RETURNS,
        "target = (1 - lambda_) * value[i + 1] + lambda_ * returns[-1]",
        "target = (1 - lambda_) * value[i] + lambda_ * returns[-1]",
        NN,
    ),
    Mutant(
        "lambda return: the reward of the state itself",
        RETURNS,
        "returns.append(reward[i + 1] + cont[i + 1] * target)",
        "returns.append(reward[i] + cont[i + 1] * target)",
        NN,
    ),
    Mutant(
        "replay return: time limits end the return",
        RETURNS,
        "live = (1 - is_terminal) * gamma",
        "live = (1 - is_last) * gamma",
        NN,
    ),
    Mutant(
        "replay return: long returns run across episodes",
        RETURNS,
        "mix = (1 - is_last) * lambda_",
        "mix = (1 - is_terminal) * lambda_",
        NN,
    ),
    Mutant(
        "return normalizer: percentiles replace each other at once",
        RETURNS,
        "th.lerp(value, new, self.rate)",
        "th.lerp(value, new, 1.0)",
        NN,
    ),
    Mutant(
        "return normalizer: small returns are blown up",
        RETURNS,
        "return (self.high_value - self.low_value).clamp(min=self.limit)",
        "return (self.high_value - self.low_value).clamp(min=1e-8)",
        NN,
    ),
    Mutant(
        "return normalizer: percentiles are not interpolated",
        RETURNS,
        "new = th.lerp(ordered[below], ordered[above], position - below)",
        "new = ordered[below]",
        NN,
    ),
    Mutant(
        "DreamerV3: the dynamics' hidden layers are as wide as the heads'",
        POLICY,
        "hidden=size.dynamics_hidden,",
        "hidden=size.units,",
        ("tests/dreamer_v3/test_drift.py", *TESTS),
    ),
    Mutant(
        "DreamerV3: vectors are read by as many layers as the actor has",
        POLICY,
        "layers=size.observation_layers,\n            cnn_output_dim",
        "layers=size.head_layers,\n            cnn_output_dim",
        TESTS,
    ),
]
