"""Mistakes in the agent MERLIN, its losses and its policy."""

from tests.mutants.mutant import Mutant

AGENT, LOSSES, ACTOR = "zoo/merlin/merlin.py", "zoo/merlin/losses.py", "zoo/merlin/actor.py"
POLICY, MODEL = "zoo/merlin/policies.py", "zoo/merlin/world_model.py"
SIZES = "zoo/merlin/sizes.py"
ORACLE, AGAIN = "tests/merlin/test_oracle.py", "tests/merlin/test_window.py"
PITFALLS, GRADIENTS = "tests/merlin/test_pitfalls.py", "tests/merlin/test_gradients.py"
TESTS = {
    AGENT: (ORACLE, GRADIENTS, PITFALLS),
    LOSSES: (PITFALLS, ORACLE),
    ACTOR: (GRADIENTS, ORACLE, PITFALLS),
    POLICY: (AGAIN, ORACLE, GRADIENTS, PITFALLS),
    MODEL: (PITFALLS, ORACLE),
    SIZES: (PITFALLS,),
}


def _mutant(file: str, what: str, old: str, new: str) -> Mutant:
    return Mutant(f"MERLIN: {what}", file, old, new, TESTS[file])


MUTANTS = [
    _mutant(
        SIZES,
        "a size of no reads is taken",
        '("latents", "units", "heads", "policy_heads"), Whole(1))',
        '("latents", "units", "heads", "policy_heads"), Whole(0))',
    ),
    _mutant(
        SIZES,
        "sizes of a user's own are not looked at",
        "        read_settings(type(self).__name__, self._settings, vars(self))\n",
        "        pass\n",
    ),
    _mutant(
        AGENT,
        "z learns to predict returns where it should not",
        "z = path.z if self.return_gradients else path.z.detach()",
        "z = path.z",
    ),
    _mutant(
        AGENT,
        "z never learns to predict returns",
        "z = path.z if self.return_gradients else path.z.detach()",
        "z = path.z.detach()",
    ),
    _mutant(
        AGENT,
        "the value is no constant to advantages",
        "known = value.detach()",
        "known = value",
    ),
    _mutant(
        AGENT,
        "returns are those of generalized advantages",
        "window_advantages(rewards, known, *ends, self.gamma, 1.0)",
        "window_advantages(rewards, known, *ends, self.gamma, self.gae_lambda)",
    ),
    _mutant(
        AGENT,
        "advantages are not generalized",
        "window_advantages(rewards, known, *ends, self.gamma, self.gae_lambda)",
        "window_advantages(rewards, known, *ends, self.gamma, 1.0)",
    ),
    _mutant(
        AGENT,
        "returns are those less the value",
        "returns = known + window_advantages",
        "returns = window_advantages",
    ),
    _mutant(
        AGENT,
        "the policy learns from returns",
        "policy_loss(log_prob, entropy, advantages)",
        "policy_loss(log_prob, entropy, returns)",
    ),
    _mutant(
        AGENT,
        "images weigh as vectors do",
        'self.image_coef if key.kind == "image" else self.vector_coef',
        "self.vector_coef",
    ),
    _mutant(
        AGENT,
        "the weight of the KL term is ignored",
        'weights["kl"] = self.kl_coef',
        'weights["kl"] = 1.0',
    ),
    _mutant(
        AGENT,
        "the weight of actions is ignored",
        '            "action": self.action_coef,\n',
        "",
    ),
    _mutant(
        AGENT,
        "rewards weigh as actions do",
        '"reward": self.reward_coef',
        '"reward": self.action_coef',
    ),
    _mutant(
        AGENT,
        "the weight of ends is ignored",
        '            "cont": self.cont_coef,\n',
        "",
    ),
    _mutant(
        AGENT,
        "V is weighted and A is not",
        '            "advantage": self.vf_coef,\n',
        "",
    ),
    _mutant(
        AGENT,
        "entropy is neither weighted nor small",
        '            "entropy": self._now("ent_coef"),\n',
        "",
    ),
    _mutant(
        AGENT,
        "the policy follows the predictor's rate",
        'return {"actor_optimizer": self._rate("actor_learning_rate")}',
        "return {}",
    ),
    _mutant(
        AGENT,
        "the policy's gradient is as long as the predictor's may be",
        'return {"actor_optimizer": self.actor_max_grad_norm}',
        "return {}",
    ),
    _mutant(
        AGENT,
        "rows gather with a discount of their own",
        'return {"retro_gamma": retro_gamma(self.gamma), **super()._policy_kwargs()}',
        "return super()._policy_kwargs()",
    ),
    _mutant(
        AGENT,
        "the KL term is there where nothing is drawn",
        '        if self.policy.stochastic:\n            terms["kl"]',
        '        if True:\n            terms["kl"]',
    ),
    _mutant(
        LOSSES,
        "the explained variance is not a share where nothing varies",
        "return th.where(variance > 0.0, share, 0.0)",
        "return share",
    ),
    _mutant(
        LOSSES,
        "the explained variance is that of the prediction",
        "share = 1.0 - (truth - prediction).var(unbiased=False) / variance",
        "share = prediction.var(unbiased=False) / variance",
    ),
    _mutant(
        LOSSES,
        "actions of other episodes are reproduced",
        '"action": (went_on * action_loss).mean()',
        '"action": action_loss.mean()',
    ),
    _mutant(
        LOSSES,
        "rewards of other episodes are reproduced",
        '"reward": (went_on * reward_loss).mean()',
        '"reward": reward_loss.mean()',
    ),
    _mutant(
        LOSSES,
        "actions and rewards are reproduced at first steps alone",
        "went_on = (~is_first).float()",
        "went_on = is_first.float()",
    ),
    _mutant(
        LOSSES,
        "the loss of rewards is twice as large",
        "reward_loss = 0.5 * (model",
        "reward_loss = (model",
    ),
    _mutant(
        LOSSES,
        "the loss of actions that are numbers is twice as large",
        "action_loss = 0.5 * (action",
        "action_loss = (action",
    ),
    _mutant(
        LOSSES,
        "one softmax over all action dimensions",
        "pairs = zip(logits.split(list(sizes), -1), one_hots.split(list(sizes), -1), strict=True)",
        "pairs = [(logits, one_hots)]",
    ),
    _mutant(
        LOSSES,
        "ends are predicted upside down",
        "F.binary_cross_entropy_with_logits(cont, (~is_terminal).float())",
        "F.binary_cross_entropy_with_logits(cont, is_terminal.float())",
    ),
    _mutant(
        LOSSES,
        "the KL term runs from the prior to the posterior",
        "return post.kl(prior).mean()",
        "return prior.kl(post).mean()",
    ),
    _mutant(
        LOSSES,
        "the prior does not learn",
        "return post.kl(prior).mean()",
        "return post.kl(prior.detach()).mean()",
    ),
    _mutant(
        LOSSES,
        "V learns what is A's to learn",
        "rest = returns - value.detach()",
        "rest = returns - value",
    ),
    _mutant(
        LOSSES,
        "A learns the whole return",
        "rest = returns - value.detach()",
        "rest = returns",
    ),
    _mutant(
        LOSSES,
        "the policy runs downhill",
        "policy = -(advantages.detach() * log_prob).mean()",
        "policy = (advantages.detach() * log_prob).mean()",
    ),
    _mutant(
        LOSSES,
        "advantages learn from the policy's loss",
        "policy = -(advantages.detach() * log_prob).mean()",
        "policy = -(advantages * log_prob).mean()",
    ),
    _mutant(
        LOSSES,
        "entropy is brought down",
        '"entropy": -entropy.mean()',
        '"entropy": entropy.mean()',
    ),
    _mutant(
        ACTOR,
        "the policy's loss reaches z through its LSTM",
        "return self.reader(state.z.detach(), own, rows)[0]",
        "return self.reader(state.z, own, rows)[0]",
    ),
    _mutant(
        ACTOR,
        "the policy's loss reaches z through its hidden layer",
        "th.cat([z.detach(), context], dim=-1)",
        "th.cat([z, context], dim=-1)",
    ),
    _mutant(
        ACTOR,
        "the policy's loss reaches z through the memory",
        "rows = map_parts(Tensor.detach, state.rows)",
        "rows = state.rows",
    ),
    _mutant(
        ACTOR,
        "the policy does not see z",
        "th.cat([z.detach(), context], dim=-1)",
        "th.cat([0.0 * z.detach(), context], dim=-1)",
    ),
    _mutant(
        ACTOR,
        "the value reads logits",
        "[part.log_softmax(-1) for part in parts]",
        "[part for part in parts]",
    ),
    _mutant(
        ACTOR,
        "the value reads deviations where log-deviations are",
        "th.cat([distribution.mean, distribution.std.log()], dim=-1).detach()",
        "th.cat([distribution.mean, distribution.std], dim=-1).detach()",
    ),
    _mutant(
        ACTOR,
        "the return prediction teaches the policy",
        "for part in parts], dim=-1).detach()",
        "for part in parts], dim=-1)",
    ),
    _mutant(
        ACTOR,
        "the return prediction teaches policies of numbers",
        "distribution.std.log()], dim=-1).detach()",
        "distribution.std.log()], dim=-1)",
    ),
    _mutant(
        POLICY,
        "the policy's network remembers the last episode",
        "own = zeroed(is_first, state.own)",
        "own = state.own",
    ),
    _mutant(
        POLICY,
        "the policy's network remembers the last episode when it learns",
        "zeroed(is_first, before))",
        "before)",
    ),
    _mutant(
        POLICY,
        "the window's first step follows no action",
        "th.cat([start.prev_action[:, None], actions[:, :-1]], dim=1)",
        "th.cat([0.0 * start.prev_action[:, None], actions[:, :-1]], dim=1)",
    ),
    _mutant(
        POLICY,
        "the window's first step follows no reward",
        "th.cat([start.latent.reward[:, None], window.rewards[:, :-1]], dim=1)",
        "th.cat([0.0 * start.latent.reward[:, None], window.rewards[:, :-1]], dim=1)",
    ),
    _mutant(
        POLICY,
        "actions are a step late",
        "th.cat([start.prev_action[:, None], actions[:, :-1]], dim=1)",
        "actions",
    ),
    _mutant(
        POLICY,
        "the chosen action is not remembered",
        "return action, after._replace(prev_action=self.action_codec.encode(action))",
        "return action, after",
    ),
    _mutant(
        POLICY,
        "windows are gone through with new noise",
        "window.notes.unbind(1), prev_rewards",
        "th.randn_like(window.notes).unbind(1), prev_rewards",
    ),
    _mutant(
        POLICY,
        "noise of last observations is that of the steps before them",
        "noise = dynamics.draw(len(rows), generator)",
        "noise = concatenate(before).noise",
    ),
    _mutant(
        POLICY,
        "last observations do not follow the action before them",
        "action, reward = actions[rows, times], window.rewards[rows, times]",
        "action, reward = 0.0 * actions[rows, times], window.rewards[rows, times]",
    ),
    _mutant(
        POLICY,
        "last observations come without their reward",
        "action, reward = actions[rows, times], window.rewards[rows, times]",
        "action, reward = actions[rows, times], 0.0 * window.rewards[rows, times]",
    ),
    _mutant(
        POLICY,
        "last observations follow the window's first step",
        "select(steps[t].state, rows[times == t])",
        "select(steps[0].state, rows[times == t])",
    ),
    _mutant(
        POLICY,
        "values of what follows are those of a sample",
        "after = self.filter(obs, state, is_first, mode=True)",
        "after = self.filter(obs, state, is_first)",
    ),
    _mutant(
        POLICY,
        "deterministic actions follow a sample of z",
        "after = self.filter(obs, state, is_first, generator, mode=deterministic)",
        "after = self.filter(obs, state, is_first, generator)",
    ),
    _mutant(
        POLICY,
        "last observations end no episode",
        "is_terminal=th.cat([nowhere.new_zeros(n * length), window.endings.is_terminal])",
        "is_terminal=th.cat([nowhere.new_zeros(n * length), nowhere])",
    ),
    _mutant(
        POLICY,
        "Adam's epsilon is torch's",
        "optimizer_kwargs = dict(eps=1e-6)",
        "optimizer_kwargs = dict(eps=1e-8)",
    ),
    _mutant(
        POLICY,
        "rows always gather what follows",
        "retro_gamma if retroactive else None",
        "retro_gamma",
    ),
    _mutant(
        POLICY,
        "empty rows are always left out",
        "mask_unwritten=mask_unwritten",
        "mask_unwritten=True",
    ),
    _mutant(
        POLICY,
        "z is always drawn",
        "sample=stochastic",
        "sample=True",
    ),
    _mutant(
        POLICY,
        "gradients never flow through rows",
        "write_grad=memory_write_grad",
        "write_grad=False",
    ),
    _mutant(
        POLICY,
        "no rows are the size's rows",
        "widths.rows if rows is None else rows",
        "rows or widths.rows",
    ),
    _mutant(
        POLICY,
        "A does not learn",
        "nn.ModuleList([self.world_model, self.value_head, self.advantage_head])",
        "nn.ModuleList([self.world_model, self.value_head])",
    ),
    _mutant(
        MODEL,
        "who is told nothing believes in no reward",
        "return th.where(state.told.bool(), told_reward(state, prior), expected)",
        "return told_reward(state, prior)",
    ),
    _mutant(
        MODEL,
        "what was told is not believed",
        "return th.where(state.told.bool(), told_reward(state, prior), expected)",
        "return expected",
    ),
    Mutant(
        "MERLIN: what it predicts of given actions is read off its features",
        MODEL,
        "return LatentModel.imagine_sequence(self, latent, actions, generator)",
        "return super().imagine_sequence(latent, actions, generator)",
        ("tests/analysis/test_open_loop.py",),
    ),
    _mutant(
        SIZES,
        "the paper's memory has as many rows as a copy of it",
        "rows=1350",
        "rows=1000",
    ),
    Mutant(
        "RL-LSTM: takes a setting of the memory that it lacks",
        "zoo/merlin/rl_mem.py",
        'of_memory = {"retroactive", ',
        "of_memory = {",
        ("tests/merlin/test_rl_mem.py",),
    ),
]
