"""Mistakes in the agents DreamerV1 and DreamerV2, and in what these share."""

from tests.mutants.mutant import Mutant

SHARED, SHARED_POLICY = "zoo/common/dreamer_algorithm.py", "zoo/common/policies/dreamer.py"
V1, V2 = "zoo/dreamer_v1/dreamer_v1.py", "zoo/dreamer_v2/dreamer_v2.py"
V1_POLICY, V2_POLICY = "zoo/dreamer_v1/policies.py", "zoo/dreamer_v2/policies.py"
EXPLORATION, ACTIONS = "zoo/dreamer_v1/exploration.py", "zoo/nn/actions.py"
SETTINGS = "zoo/nn/settings.py"
UPDATES, RECURRENT = "zoo/common/gradient_updates.py", "zoo/common/policies/recurrent.py"
BOTH = (
    "tests/dreamer_v1/test_agent.py",
    "tests/dreamer_v2/test_agent.py",
    "tests/dreamer_v1/test_oracle.py",
    "tests/dreamer_v2/test_oracle.py",
    "tests/common/test_gradient_updates.py",
)


def _mutant(file: str, what: str, old: str, new: str) -> Mutant:
    return Mutant(f"Dreamer agents: {what}", file, old, new, BOTH)


PAPERS = ("tests/hyperparams/test_papers.py",)

MUTANTS = [
    *(
        Mutant(f"Dreamer agents: {old} of the paper is another number", file, old, new, PAPERS)
        for file, old, new in (
            (V1, "gamma: float = 0.99,", "gamma: float = 0.995,"),
            (V1, "free_nats: float = 3.0,", "free_nats: float = 1.0,"),
            (V1, "exploration_updates: int = 200_000", "exploration_updates: int = 100_000"),
            (V2, "ent_coef: Moving = 1e-3,", "ent_coef: Moving = 3e-3,"),
            (V2, "target_update_interval: int = 100,", "target_update_interval: int = 10,"),
            (V2_POLICY, "cnn_depth: int = 48,", "cnn_depth: int = 32,"),
            ("zoo/hyperparams/dreamer_v2.py", '"ent_coef": 1e-4,', '"ent_coef": 1e-5,'),
        )
    ),
    _mutant(
        SHARED,
        "the burst of updates comes every time",
        "return max(updates, self.pretrain) if begins and updates else updates",
        "return max(updates, self.pretrain) if updates else updates",
    ),
    _mutant(
        SHARED,
        "the burst of updates comes before learning may start",
        "return max(updates, self.pretrain) if begins and updates else updates",
        "return max(updates, self.pretrain) if begins else updates",
    ),
    _mutant(
        SHARED,
        "there is a burst where SB3 counts updates",
        "begins = self._updates_due is None and self.gradient_steps is None",
        "begins = self._updates_due is None",
    ),
    _mutant(
        SHARED,
        "actor and critic follow the model's rate",
        '            "actor_optimizer": self._rate("actor_learning_rate"),\n',
        "",
    ),
    _mutant(
        SHARED,
        "actor and critic swap their rates",
        '"critic_optimizer": self._rate("critic_learning_rate")',
        '"critic_optimizer": self._rate("actor_learning_rate")',
    ),
    _mutant(
        SHARED,
        "the weight of the continue head is ignored",
        '            del weights["cont"]\n        return weights',
        '            pass\n        return {"kl": self.kl_coef}',
    ),
    _mutant(
        ACTIONS,
        "first Box actions are positive",
        "return 2.0 * draws - 1.0",
        "return draws",
    ),
    _mutant(
        ACTIONS,
        "the last of the discrete actions never comes first",
        "th.minimum((draws * sizes).long(), sizes - 1)",
        "(draws * (sizes - 1)).long()",
    ),
    _mutant(
        SHARED,
        "they begin with the actor's actions",
        "        if self._may_train():\n",
        "        if True:\n",
    ),
    _mutant(
        V1,
        "V1 never explores discrete actions",
        "epsilon_greedy(codec.encode(action), codec.sizes, self._epsilon(), generator)",
        "epsilon_greedy(codec.encode(action), codec.sizes, 0.0, generator)",
    ),
    _mutant(
        SHARED_POLICY,
        "values include the reward of having arrived",
        "return self.critic(latent.feat) - self.world_model.reward(latent.feat)",
        "return self.critic(latent.feat)",
    ),
    _mutant(
        V1,
        "V1 collects without noise",
        "return noisy(action, self.exploration_noise, generator)",
        "return action",
    ),
    _mutant(
        V1,
        "V1 adds noise to random actions, and none to others",
        "if not self._may_train():\n            return action",
        "if self._may_train():\n            return action",
    ),
    _mutant(
        V1,
        "V1 believes that a time limit is an end",
        "alive = self.gamma * (~batch.is_terminal).float()",
        "alive = self.gamma * (~batch.is_last).float()",
    ),
    _mutant(
        V1,
        "V1 forgets gamma in the targets of the continue head",
        "alive = self.gamma * (~batch.is_terminal).float()",
        "alive = (~batch.is_terminal).float()",
    ),
    _mutant(
        V1,
        "V1 does not notice what gamma its head has learned",
        "self.gamma * (~batch.is_terminal).float()",
        "0.5 * self.gamma * (~batch.is_terminal).float()",
    ),
    _mutant(
        V1_POLICY,
        "V1's convolutions have ELU",
        'WorldModelsEncoder(codec, cnn_depth, units, "relu", "elu")',
        'WorldModelsEncoder(codec, cnn_depth, units, "elu", "elu")',
    ),
    _mutant(V1_POLICY, "V1's epsilon is torch's", "dict(eps=1e-7)", "dict(eps=1e-8)"),
    _mutant(
        EXPLORATION,
        "random actions become more",
        "initial + (final - initial) * min(n_updates / over, 1.0)",
        "final + (initial - final) * min(n_updates / over, 1.0)",
    ),
    _mutant(
        EXPLORATION,
        "random actions never stop to become less",
        "min(n_updates / over, 1.0)",
        "n_updates / over",
    ),
    _mutant(
        EXPLORATION,
        "noise leaves the range",
        "(action + std * noise).clamp(-1.0, 1.0)",
        "(action + std * noise)",
    ),
    _mutant(
        "zoo/nn/dreamer_model.py",
        "rewards are learned as they are",
        'rewards.tanh() if self.reward_transform == "tanh" else rewards',
        "rewards",
    ),
    _mutant(
        SHARED,
        "the model does not say what it learns of rewards from now on",
        "model.reward_transform = self.policy._arguments[name] = self.reward_transform",
        "pass",
    ),
    _mutant(
        SHARED,
        "policy_kwargs override the agent",
        "for name in own.keys() & self.policy_kwargs.keys():",
        "for name in ():",
    ),
    Mutant(
        "Dreamer agents: reality's rewards are compared with what was learned of them",
        "zoo/analysis/agreement.py",
        "real = real._replace(rewards=unit.earned(to_host(learned)))",
        "pass",
        ("tests/analysis/test_agreement.py",),
    ),
    _mutant(
        V2,
        "V2 believes that a time limit is an end",
        "self.gamma * (~batch.is_terminal).float()",
        "self.gamma * (~batch.is_last).float()",
    ),
    _mutant(
        V2,
        "V2 copies its critic after every update",
        "if self._n_updates % self.target_update_interval == 0:",
        "if True:",
    ),
    _mutant(
        V2,
        "V2 copies its critic one update late",
        "if self._n_updates % self.target_update_interval == 0:",
        "if (self._n_updates + 1) % self.target_update_interval == 0:",
    ),
    _mutant(
        V2,
        "V2 ignores tau",
        "self.policy.follow_critic(self.tau)",
        "self.policy.follow_critic(1.0)",
    ),
    _mutant(
        V2,
        "V2 judges by the critic itself",
        "policy.critic_target,\n            flatten",
        "policy.critic,\n            flatten",
    ),
    _mutant(
        V2,
        "V2 never looks through the dynamics while a schedule changes",
        'return self._on_line("rho") != 1.0',
        "return not isinstance(self.rho, tuple) and self.rho < 1.0",
    ),
    _mutant(
        V2,
        "V2 goes on through the dynamics after a schedule has ended with REINFORCE alone",
        'return self._on_line("rho") != 1.0',
        "return self.rho != 1.0",
    ),
    _mutant(
        UPDATES,
        "weights of terms that are not there are let in",
        "if unknown := sorted(weights.keys() - losses.keys()):",
        "if unknown := sorted(weights.keys() - weights.keys()):",
    ),
    _mutant(
        UPDATES,
        "schedules of own rates do not go on",
        "rate = rate(progress)",
        "rate = rate(1.0)",
    ),
    _mutant(
        UPDATES,
        "settings that move are logged at their start",
        'self.logger.record(f"train/{name}", self._on_line(name))',
        'self.logger.record(f"train/{name}", getattr(self, name)[0])',
    ),
    _mutant(
        UPDATES,
        "settings that move stand still",
        "        for name in self._moving:\n            self._now(name)\n",
        "",
    ),
    _mutant(
        SETTINGS,
        "settings that move go on beyond the end of their line",
        "min(step / steps, 1.0)",
        "step / steps",
    ),
    _mutant(
        V2_POLICY,
        "V2's slow critic begins elsewhere",
        "        self.critic_target.load_state_dict(self.critic.state_dict())\n",
        "",
    ),
    _mutant(
        UPDATES,
        "one norm clips all networks",
        "parameters, limit, norm.nan_to_num(0.0, 0.0)",
        "parameters, limit, sum(norms.values())",
    ),
    _mutant(
        RECURRENT,
        "only the first of several optimizers steps",
        'self._optimizer_names = tuple(networks) or ("optimizer",)',
        'self._optimizer_names = ("optimizer",)',
    ),
]
