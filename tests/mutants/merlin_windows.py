"""Mistakes in windows of steps that MERLIN learns from, and in RL-MEM and RL-LSTM."""

from tests.mutants.mutant import Mutant

WINDOW, LOOP = "zoo/common/rollout_window.py", "zoo/common/rollout_agent.py"
HEARS, FITS = "zoo/common/policies/hears_rewards.py", "zoo/merlin/external_memory.py"
RL, RL_POLICY = "zoo/merlin/rl_mem.py", "zoo/merlin/rl_policies.py"
ORACLE, AGAIN = "tests/merlin/test_oracle.py", "tests/merlin/test_window.py"
PITFALLS, RL_MEM = "tests/merlin/test_pitfalls.py", "tests/merlin/test_rl_mem.py"
TESTS = {
    WINDOW: (AGAIN, ORACLE),
    LOOP: (AGAIN, ORACLE),
    HEARS: (PITFALLS, AGAIN),
    FITS: (PITFALLS,),
    RL: (RL_MEM,),
    RL_POLICY: (RL_MEM,),
}


def _mutant(file: str, what: str, old: str, new: str) -> Mutant:
    return Mutant(f"MERLIN's windows: {what}", file, old, new, TESTS[file])


MUTANTS = [
    _mutant(
        WINDOW,
        "last observations belong to the step before",
        "self._endings.append((row, len(self) - 1, observation, is_terminal))",
        "self._endings.append((row, max(len(self) - 2, 0), observation, is_terminal))",
    ),
    _mutant(
        WINDOW,
        "last observations of one window are learned from for ever",
        "        self._endings: list[tuple[int, int, Any, bool]] = []\n",
        '        self._endings: list[tuple[int, int, Any, bool]] = getattr(self, "_endings", [])\n',
    ),
    _mutant(
        WINDOW,
        "noise of one window stays for the next",
        "        self._notes: list[Tensor | None] = []\n",
        '        self._notes: list[Tensor | None] = getattr(self, "_notes", [])\n',
    ),
    _mutant(
        WINDOW,
        "the value after a time limit is that of the next episode",
        "np.where(is_last, bootstrap, np.float32(values))",
        "np.float32(values)",
    ),
    _mutant(
        LOOP,
        "a time limit is an end for good",
        'self.rollout_buffer.end(int(i), infos[i]["terminal_observation"], not cut[i])',
        'self.rollout_buffer.end(int(i), infos[i]["terminal_observation"], True)',
    ),
    _mutant(
        LOOP,
        "terminations are followed by a value, too",
        "self._last_episode_starts, dones, cut * values",
        "self._last_episode_starts, dones, dones * values",
    ),
    _mutant(
        LOOP,
        "time limits are not followed by a value",
        "self._last_episode_starts, dones, cut * values",
        "self._last_episode_starts, dones, 0.0 * cut",
    ),
    _mutant(
        LOOP,
        "values of time limits are those of the next episode's first observation",
        "self._values(_last_observations(new_obs, infos, cut)) if cut.any()",
        "self._values(new_obs) if cut.any()",
    ),
    _mutant(
        LOOP,
        "rewards are not told",
        "        self._last_state = self.policy.told(self._last_state, earned)\n",
        "",
    ),
    _mutant(
        LOOP,
        "values are those of a new episode",
        "nowhere = th.zeros(self.n_envs, dtype=th.bool, device=self.device)",
        "nowhere = th.ones(self.n_envs, dtype=th.bool, device=self.device)",
    ),
    _mutant(
        HEARS,
        "rewards that are no numbers are named as a part of the state",
        "            FLOAT32.check(reward, REWARD)\n",
        "",
    ),
    _mutant(
        HEARS,
        "rewards of other rows are named as a part of the state",
        "if np.shape(state[0])[:1] != reward.shape[:1]:",
        "if False:",
    ),
    _mutant(
        HEARS,
        "rewards that are shown are not heard",
        "            state = self._with_reward(state, reward)\n",
        "",
    ),
    _mutant(
        HEARS,
        "rewards that are told are not remembered as told",
        'heard = {"reward": reward, "told": th.ones_like(reward)}',
        'heard = {"reward": reward}',
    ),
    _mutant(
        FITS,
        "an episode that just fits is spoken of",
        "steps <= memory.rows or self._said",
        "steps < memory.rows or self._said",
    ),
    _mutant(
        FITS,
        "episodes that do not fit are spoken of again and again",
        "        self._said = True\n",
        "",
    ),
    _mutant(
        FITS,
        "time limits are not looked at",
        "self._compare(limit := max(limits, default=0), ",
        "self._compare(limit := 0, ",
    ),
    _mutant(
        FITS,
        "RL-MEM is taken to write a step late, as MERLIN does",
        "steps_behind: ClassVar[int] = 0",
        "steps_behind: ClassVar[int] = 1",
    ),
    _mutant(
        RL,
        "RL-MEM's returns are those of generalized advantages",
        "*ends, self.gamma, 1.0)",
        "*ends, self.gamma, self.gae_lambda)",
    ),
    _mutant(
        RL,
        "RL-MEM's value is learned twice as fast",
        'terms["value"] = 0.5 * (value',
        'terms["value"] = (value',
    ),
    _mutant(
        RL,
        "RL-MEM's entropy is not weighted",
        'return {"entropy": self._now("ent_coef"), "value": self.vf_coef}',
        'return {"value": self.vf_coef}',
    ),
    _mutant(
        RL,
        "RL-LSTM has a memory",
        'return {**super()._policy_kwargs(), "rows": 0}',
        "return super()._policy_kwargs()",
    ),
    _mutant(
        RL_POLICY,
        "RL-MEM's policy sees what it has read",
        "return th.cat([seen, hidden], dim=-1), state._replace",
        "return th.cat([seen, hidden + 0.1 * reading.read.sum()], dim=-1), state._replace",
    ),
    _mutant(
        RL_POLICY,
        "what RL-MEM has read counts as unused",
        "rows = self.memory_module.write(rows, value, weights.detach())",
        "rows = self.memory_module.write(rows, value)",
    ),
    _mutant(
        RL_POLICY,
        "what RL-MEM writes is always a constant",
        "value = value if self.memory_write_grad else value.detach()",
        "value = value.detach()",
    ),
    _mutant(
        RL_POLICY,
        "RL-MEM writes gradients where it should not",
        "value = value if self.memory_write_grad else value.detach()",
        "value = value",
    ),
    _mutant(
        RL_POLICY,
        "RL-MEM remembers the last episode when it acts",
        "state = zeroed(is_first, state)\n",
        "state = state\n",
    ),
    _mutant(
        RL_POLICY,
        "RL-MEM remembers the last episode when it learns",
        "before = zeroed(is_first, state)",
        "before = state",
    ),
    _mutant(
        RL_POLICY,
        "RL-MEM does not know its last action",
        "return action, after._replace(prev_action=encoded, reward",
        "return action, after._replace(reward",
    ),
    _mutant(
        RL_POLICY,
        "RL-MEM learns from actions of other episodes",
        "actions[:, :-1]], dim=1) * went_on[..., None]",
        "actions[:, :-1]], dim=1)",
    ),
    _mutant(
        RL_POLICY,
        "RL-MEM learns from rewards of other episodes",
        "window.rewards[:, :-1]], dim=1) * went_on",
        "window.rewards[:, :-1]], dim=1)",
    ),
    _mutant(
        RL_POLICY,
        "RL-MEM's window begins without a reward",
        "rewards = th.cat([state.reward[:, None]",
        "rewards = th.cat([0.0 * state.reward[:, None]",
    ),
]
