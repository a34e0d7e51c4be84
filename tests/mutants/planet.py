"""Mistakes in PlaNet, its state-space models and the planner."""

from tests.mutants.mutant import Mutant

AGENT, POLICY = "zoo/planet/planet.py", "zoo/planet/policies.py"
LOSSES, UPDATES = "zoo/planet/losses.py", "zoo/common/gradient_updates.py"
RSSM, PLAIN = "zoo/nn/rssm/gaussian.py", "zoo/nn/networks/world_models.py"
CEM, PLANNER = "zoo/planning/cem.py", "zoo/planning/planner.py"
TESTS = ("tests/planet/test_oracle.py", "tests/planet")
PLANNING = ("tests/planning/test_cem.py", "tests/planet")


def _agent(what: str, old: str, new: str) -> Mutant:
    return Mutant(f"PlaNet: {what}", AGENT, old, new, TESTS)


def _loss(what: str, old: str, new: str) -> Mutant:
    return Mutant(f"PlaNet: {what}", LOSSES, old, new, TESTS)


MUTANTS = [
    _loss(
        "the KL divergence is turned around",
        "kl = post.kl(prior)",
        "kl = prior.kl(post)",
    ),
    _loss(
        "free nats are clipped after the mean",
        'terms["kl"] = beyond(kl, free_nats).mean()',
        'terms["kl"] = beyond(kl.mean(), free_nats)',
    ),
    _loss(
        "free nats are ignored",
        'terms["kl"] = beyond(kl, free_nats).mean()',
        'terms["kl"] = kl.mean()',
    ),
    _agent(
        "the reward's weight is ignored",
        '            "reward": self.reward_coef,\n',
        "",
    ),
    _agent(
        "the weight of the KL term is ignored",
        '            "kl": self.kl_coef,\n',
        "",
    ),
    _agent(
        "the weight of overshooting is ignored",
        '            "overshooting": self.overshooting_coef,\n',
        "",
    ),
    Mutant(
        "PlaNet: gradients are not clipped",
        UPDATES,
        "            if limit is not None:\n",
        "            if False:\n",
        TESTS,
    ),
    _loss(
        "free nats are not applied to overshooting",
        "divergence = beyond(post.kl(prior), free_nats)",
        "divergence = post.kl(prior)",
    ),
    _loss(
        "the prior is not held fixed in the deterministic model",
        "unit_variance_loss(post.mean, prior.mean.detach()).sum(-1)",
        "unit_variance_loss(post.mean, prior.mean).sum(-1)",
    ),
    _loss(
        "reward targets are those of the step before",
        "unit_variance_loss(model.reward(feat), rewards).mean()",
        "unit_variance_loss(model.reward(feat), rewards.roll(1, 1)).mean()",
    ),
    _loss(
        "the overshooting target is not held fixed",
        "post = filtered.belief.post.detach()",
        "post = filtered.belief.post",
    ),
    _loss(
        "overshooting counts a distance of one step",
        "longer = th.where(exists, divergence, 0.0)[1:]",
        "longer = th.where(exists, divergence, 0.0)",
    ),
    _loss(
        "overshooting reaches across starts of episodes",
        "longer = th.where(exists, divergence, 0.0)[1:]",
        "longer = divergence[1:]",
    ),
    _loss(
        "overshooting is not divided by the distance",
        "return longer.mean(dim=(1, 2)).sum() / distance",
        "return longer.mean(dim=(1, 2)).sum()",
    ),
    _loss(
        "the posterior is not held fixed in the deterministic model",
        "unit_variance_loss(prior.mean, post.mean.detach()).sum(-1)",
        "unit_variance_loss(prior.mean, post.mean).sum(-1)",
    ),
    _agent(
        "no noise while collecting",
        "return (action + self.exploration_noise * noise).clamp(-1.0, 1.0)",
        "return action.clamp(-1.0, 1.0)",
    ),
    _agent(
        "noise leaves the bounds",
        "return (action + self.exploration_noise * noise).clamp(-1.0, 1.0)",
        "return action + self.exploration_noise * noise",
    ),
    _agent(
        "seed episodes are planned",
        "if self.random_collection or self._in_seed_phase():",
        "if self.random_collection:",
    ),
    _agent(
        "updates follow steps instead of episodes",
        "return episodes * self.collect_interval",
        "return self.collect_interval",
    ),
    Mutant(
        "PlaNet: images keep 8 bits",
        POLICY,
        '.div(_BYTES_A_LEVEL, rounding_mode="floor")',
        ".div(_BYTES_A_LEVEL)",
        TESTS,
    ),
    Mutant(
        "PlaNet: images are not centered",
        POLICY,
        "return (level + noise) / LEVELS - 0.5",
        "return (level + noise) / LEVELS",
        TESTS,
    ),
    Mutant(
        "PlaNet: Adam's own epsilon",
        POLICY,
        "optimizer_kwargs = dict(eps=1e-4)",
        "optimizer_kwargs = dict(eps=1e-8)",
        TESTS,
    ),
    Mutant(
        "Gaussian: deviations without their floor",
        RSSM,
        "F.softplus(raw) + MIN_STD",
        "F.softplus(raw)",
        TESTS,
    ),
    Mutant(
        "Gaussian RSSM: actions of the step before a start are kept",
        RSSM,
        "split_input(self.input[0], prev_actions * keep)",
        "split_input(self.input[0], prev_actions)",
        ("tests/nn/rssm/test_block.py", *TESTS),
    ),
    Mutant(
        "Gaussian RSSM: the memory is kept at starts",
        RSSM,
        "self.cell(self.input[1](embedded), deter * kept)",
        "self.cell(self.input[1](embedded), deter)",
        ("tests/nn/rssm/test_block.py", *TESTS),
    ),
    Mutant(
        "Gaussian RSSM: latents are kept at starts",
        RSSM,
        "th.addmm(action, stoch.flatten(-2) * kept, from_stoch)",
        "th.addmm(action, stoch.flatten(-2), from_stoch)",
        ("tests/nn/rssm/test_block.py", *TESTS),
    ),
    Mutant(
        "Gaussian RSSM: the prior reads the memory of the step before",
        RSSM,
        "partial(self.prior_head, memory)",
        "partial(self.prior_head, memory.roll(1, 1))",
        TESTS,
    ),
    Mutant(
        "overshooting: actions one step off",
        RSSM,
        "deter, prior = dynamics.prior(state, actions[:, steps].flatten(0, 1))",
        "deter, prior = dynamics.prior(state, actions[:, steps - 1].flatten(0, 1))",
        TESTS,
    ),
    Mutant(
        "overshooting: predictions are compared where they started",
        RSSM,
        "means.append(prior.mean.view(batch, length, -1).roll(d, dims=1))",
        "means.append(prior.mean.view(batch, length, -1))",
        TESTS,
    ),
    Mutant(
        "unit variance: no factor of one half",
        PLAIN,
        "0.5 * ",
        "",
        ("tests/planet/test_networks.py", *TESTS),
    ),
    Mutant(
        "CEM: candidates leave the box",
        CEM,
        "actions = (mean + std * noise).clamp_(-1.0, 1.0)",
        "actions = mean + std * noise",
        PLANNING,
    ),
    Mutant(
        "CEM: the worst are taken",
        CEM,
        "returns.topk(self.elites, dim=1, sorted=False)",
        "returns.topk(self.elites, dim=1, sorted=False, largest=False)",
        PLANNING,
    ),
    Mutant(
        "CEM: the sample's deviation instead of the population's",
        CEM,
        "correction=0",
        "correction=1",
        PLANNING,
    ),
    Mutant(
        "CEM: futures that blow up are the best",
        CEM,
        "            returns = returns.where(returns.isfinite(), -th.inf)\n",
        "",
        PLANNING,
    ),
    Mutant(
        "planning: rewards after the predicted end count",
        PLANNER,
        "            alive *= cont\n",
        "",
        ("tests/planning", "tests/planet"),
    ),
    Mutant(
        "planning: candidates and environments are mixed up",
        PLANNER,
        "part.repeat_interleave(candidates, dim=0)",
        "part.repeat(candidates, *[1] * (part.dim() - 1))",
        ("tests/planning", "tests/planet"),
    ),
    Mutant(
        "planning: the last action of the plan is taken",
        PLANNER,
        "return plan.mean[:, 0]",
        "return plan.mean[:, -1]",
        ("tests/planning", "tests/planet"),
    ),
]
