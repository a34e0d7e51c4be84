"""Mistakes in DiscreteSAC, and in what makes SB3's off-policy loop keep dreamzoo's promises."""

from tests.mutants.mutant import Mutant

AGENT, LOSSES = "zoo/discrete_sac/discrete_sac.py", "zoo/discrete_sac/losses.py"
POLICIES, LOOP = "zoo/discrete_sac/policies.py", "zoo/common/transition_agent.py"
TESTS = (
    "tests/discrete_sac/test_losses.py",
    "tests/discrete_sac/test_agent.py",
    "tests/discrete_sac/test_changes.py",
)
CONTRACT = (
    "tests/discrete_sac/test_agent.py",
    "tests/discrete_sac/test_changes.py",
    "tests/sb3/test_contract.py",
)


def _mutant(file: str, what: str, old: str, new: str) -> Mutant:
    tests = CONTRACT if file == LOOP else TESTS
    return Mutant(f"DiscreteSAC: {what}", file, old, new, tests)


MUTANTS = [
    _mutant(
        LOSSES,
        "parts of an action are not independent in the sum over actions",
        "probs = (logs @ actions.to(logs).T).exp()",
        "probs = logs.exp() @ actions.to(logs).T",
    ),
    _mutant(
        LOSSES,
        "the entropy is that of the first part of an action",
        "return th.stack([belief.entropy() for belief in beliefs]).sum(0)",
        "return beliefs[0].entropy()",
    ),
    _mutant(
        LOSSES,
        "the entropy aimed at is that of one action of all parts' choices",
        "return scale * sum(math.log(size) for size in sizes)",
        "return scale * math.log(sum(sizes))",
    ),
    _mutant(
        LOSSES,
        "uncertainty is punished in the value of states",
        "return values + ent_coef * entropies",
        "return values - ent_coef * entropies",
    ),
    _mutant(
        LOSSES,
        "the actor is not rewarded for its entropy",
        "return Estimate(estimate.loss - known - bonus.detach(), estimate.surrogate - bonus)",
        "return Estimate(estimate.loss - known - bonus.detach(), estimate.surrogate)",
    ),
    _mutant(
        LOSSES,
        "the loss that is told is centered",
        "return Estimate(estimate.loss - known - bonus.detach(), estimate.surrogate - bonus)",
        "return Estimate(estimate.loss - bonus.detach(), estimate.surrogate - bonus)",
    ),
    _mutant(
        LOSSES,
        "values of all actions are multiplied by nothing",
        "return (probs * each).sum(-1)",
        "return each.mean(-1) + 0.0 * probs.sum(-1)",
    ),
    _mutant(
        POLICIES,
        "the highest of the critics counts",
        ".min(-1).values",
        ".max(-1).values",
    ),
    _mutant(
        POLICIES,
        "deterministic actions are drawn",
        "one_hot_modes(beliefs) if deterministic else one_hot_samples(beliefs, generator)",
        "one_hot_samples(beliefs, generator)",
    ),
    _mutant(
        POLICIES,
        "a policy that is loaded alone has extractors of its own for all",
        'return own | {"share_features_extractor": self.share_features_extractor}',
        "return own",
    ),
    _mutant(
        AGENT,
        "nothing follows any step",
        "not_done = 1.0 - batch.dones.flatten()",
        "not_done = batch.dones.flatten()",
    ),
    _mutant(
        AGENT,
        "n steps are discounted as one",
        "discounts = self.gamma if batch.discounts is None else batch.discounts.flatten()",
        "discounts = self.gamma",
    ),
    _mutant(
        AGENT,
        "the critics' own networks say what follows",
        "values = self._expected(self.critic_target, features, beliefs)",
        "values = self._expected(self.critic, features, beliefs)",
    ),
    _mutant(
        AGENT,
        "critics learn the value of drawn actions where all were asked for",
        "        if self.expected_backup:\n            values",
        "        if False:\n            values",
    ),
    _mutant(
        AGENT,
        "entropy is part of values that it shall not be part of",
        "return soft_value(values, entropy(beliefs), ent_coef) if self.backup_entropy else values",
        "return soft_value(values, entropy(beliefs), ent_coef)",
    ),
    _mutant(
        AGENT,
        "the straight-through form of the Gumbel-softmax is soft",
        'hard=self.estimator == "st_gumbel"',
        "hard=False",
    ),
    _mutant(
        AGENT,
        "the temperature stands still",
        "temperature = at_step(self.temperature, self.num_timesteps)",
        "temperature = at_step(self.temperature, 0)",
    ),
    _mutant(
        AGENT,
        "the entropy aimed at stands still",
        "scale = at_step(self.target_entropy_scale, self.num_timesteps)",
        "scale = at_step(self.target_entropy_scale, 0)",
    ),
    _mutant(
        AGENT,
        "the weight of the entropy rises where there is enough",
        "loss = (self.log_ent_coef * (entropies - wanted)).mean()",
        "loss = (self.log_ent_coef * (wanted - entropies)).mean()",
    ),
    _mutant(
        AGENT,
        "targets move at every update",
        "if self._n_updates % self.target_update_interval == 0:",
        "if True:",
    ),
    _mutant(
        LOOP,
        "the actor's loss leaves gradients in the critics",
        "loss.backward(inputs=parameters)",
        "loss.backward()",
    ),
    _mutant(
        AGENT,
        "replayed actions that do not begin at zero are read as they are",
        "actions = self.action_codec.encode(self.action_codec.from_env(chosen))",
        "actions = self.action_codec.encode(batch.actions.clamp(0))",
    ),
    _mutant(
        AGENT,
        "the learned weight of the entropy is not saved",
        'return [*modules, "ent_coef_optimizer"], ["log_ent_coef"]',
        'return [*modules, "ent_coef_optimizer"], []',
    ),
    _mutant(
        AGENT,
        "the learned weight of the entropy begins at one",
        'start = float(self.ent_coef.partition("_")[2] or 1.0)',
        "start = 1.0",
    ),
    _mutant(
        LOOP,
        "collecting draws from torch's global source",
        "chosen = self.choose(obs, self._generator)",
        "chosen = self.choose(obs, None)",
    ),
    _mutant(
        "zoo/common/own_randomness.py",
        "the source of randomness is not resumed",
        'self._generator.set_state(state["generator"])',
        "pass",
    ),
    _mutant(
        LOOP,
        "rewards of NaN are stored",
        'refuse_not_finite(reward, "reward")',
        "pass",
    ),
    _mutant(
        LOOP,
        "losses that are not finite go unnoticed on other devices",
        "        check_means(self, means)\n",
        "",
    ),
    _mutant(
        LOOP,
        "gradients that are not finite reach parameters",
        "        guard_gradients(self, parameters, loss, norms)\n",
        "",
    ),
    _mutant(
        LOOP,
        "settings that are changed later are not looked at",
        "        self._check_settings()\n        begin_training(",
        "        begin_training(",
    ),
    _mutant(
        LOOP,
        "uniform actions are never drawn",
        "if self.num_timesteps < learning_starts:",
        "if False:",
    ),
    _mutant(
        LOOP,
        "a loaded agent is said to ignore its n_steps",
        "        if self._counts_on_steps():\n",
        "        if False:\n",
    ),
    _mutant(
        AGENT,
        "another weight of the entropy is not followed",
        "if self._weight_of not in (None, self.ent_coef):",
        "if False:",
    ),
    _mutant(
        AGENT,
        "a weight that was learned stays beside a fixed one",
        "self.log_ent_coef = self.ent_coef_optimizer = self.ent_coef_tensor = None",
        "pass",
    ),
    _mutant(
        LOOP,
        "nothing is learned from",
        "if gradient_steps and not self.replay_buffer.size():",
        "if False:",
    ),
]
