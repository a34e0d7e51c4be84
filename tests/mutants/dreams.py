"""Mistakes in dreams, open-loop predictions, comparisons and wrappers."""

from tests.mutants.mutant import Mutant

DREAM, STARTS = "envs/dreams/vector_env.py", "envs/dreams/starts.py"
OPEN_LOOP, AGREEMENT = "zoo/analysis/open_loop.py", "zoo/analysis/agreement.py"
EVALUATION, TRAIN = "zoo/analysis/evaluation.py", "zoo/benchmark/runs.py"
SB3_AGENTS, IN_DREAMS = "zoo/analysis/sb3_agents.py", "zoo/analysis/training_in_dreams.py"
VEC, HAS_MODEL = "envs/vector_env_to_vec_env.py", "zoo/common/world_model_algorithm.py"
DISCOUNT = "wrappers/episode_discount.py"
ROLLOUTS, WINDOW = "zoo/common/rollout_agent.py", "zoo/common/rollout_window.py"
OF_MODELS, ON_POLICY = ("tests/nn/test_world_model.py",), ("tests/common/test_dreaming_agent.py",)
LATENT_MODEL = "zoo/nn/latent_model.py"
TESTS = ("tests/envs/dreams", "tests/wrappers/test_dream.py", "tests/analysis/test_open_loop.py")

MUTANTS = [
    Mutant(
        "latent models: filtering begins anew at every step",
        LATENT_MODEL,
        "for t in range(is_first.shape[1]):\n",
        "start = latent\n        for t in range(is_first.shape[1]):\n            latent = start\n",
        OF_MODELS,
    ),
    Mutant(
        "latent models: every action is taken in the start",
        LATENT_MODEL,
        "states.append(self.imagine_step(states[-1], action, generator))",
        "states.append(self.imagine_step(latent, action, generator))",
        OF_MODELS,
    ),
    Mutant(
        "dreams of the last window: what was done is chosen anew",
        ROLLOUTS,
        "return window.actions[:, len(latents) - 1]",
        "return window.actions[:, 0]",
        ON_POLICY,
    ),
    Mutant(
        "dreams of the last window: it begins without a memory",
        ROLLOUTS,
        "memory = window.start\n",
        "memory = self.policy.initial_state(self.n_envs)\n",
        ON_POLICY,
    ),
    Mutant(
        "dreams of the last window: episodes go on into the next",
        WINDOW,
        "return seen, self.is_first[:, t]",
        "return seen, self.is_first[:, t] & (t == 0)",
        ON_POLICY,
    ),
    Mutant(
        "sequences of a window: rewards and actions are those that followed",
        WINDOW,
        "moved = th.cat([th.zeros_like(part[:, :1]), part[:, :-1]], dim=1)",
        "moved = part",
        ON_POLICY,
    ),
    Mutant(
        "sequences of a window: first steps have what led to the last ones",
        WINDOW,
        "return moved.masked_fill(first, 0)",
        "return moved",
        ON_POLICY,
    ),
    Mutant(
        "sequences of a window: all begin where it does",
        WINDOW,
        "steps = start[:, None] + th.arange(length, device=start.device)",
        "steps = 0 * start[:, None] + th.arange(length, device=start.device)",
        ON_POLICY,
    ),
    Mutant(
        "played sequences: the agent does not hear of ends",
        "zoo/analysis/playing.py",
        "obs, starts = after, ends",
        "obs, starts = after, np.zeros_like(ends)",
        ON_POLICY,
    ),
    Mutant(
        "videos of windows: one at the end of each",
        "zoo/analysis/callbacks.py",
        "on_policy and self.n_calls // self.every > self._looked_at // self.every",
        "on_policy",
        ON_POLICY,
    ),
    Mutant(
        "dream: termination is the wrong way round",
        DREAM,
        "return draw >= cont",
        "return draw < cont",
        TESTS,
    ),
    Mutant(
        "dream: a fixed threshold ends likely continuations",
        DREAM,
        "return cont < self.termination",
        "return cont > self.termination",
        TESTS,
    ),
    Mutant(
        "dream: episodes are one step longer than the horizon",
        DREAM,
        "age >= limit",
        "age > limit",
        TESTS,
    ),
    Mutant(
        "dream: rewards are those of the state before",
        DREAM,
        "reward, cont = self.policy.world_model.predict(latent)",
        "reward, cont = self.policy.world_model.predict(before)",
        TESTS,
    ),
    Mutant(
        "dream: ages go on after a reset",
        DREAM,
        "age = th.where(rows, age, before.age)",
        "age = before.age",
        TESTS,
    ),
    Mutant(
        "dream: only rows that did not end are restarted",
        DREAM,
        "self._restarted(done, self._starts(self.num_envs, self._generator), after)",
        "self._restarted(~done, self._starts(self.num_envs, self._generator), after)",
        TESTS,
    ),
    Mutant(
        "dreams in the replay: the last records of episodes are starts",
        HAS_MODEL,
        "return select(self.observe_batch(batch, generator).latent, ~batch.is_last)",
        "latent = self.observe_batch(batch, generator).latent\n"
        "        return select(latent, th.ones_like(batch.is_last))",
        TESTS,
    ),
    Mutant(
        "dreams in the replay: the stored context is ignored",
        HAS_MODEL,
        "            self.start_latent(batch),\n",
        "            self.policy.world_model.initial(len(batch.rewards)),\n",
        (*TESTS, "tests/dreamer_v3"),
    ),
    Mutant(
        "open loop: the action of the step before",
        OPEN_LOOP,
        "unseen = actions[:, context:].transpose(0, 1)",
        "unseen = actions[:, context - 1 : -1].transpose(0, 1)",
        ("tests/analysis/test_open_loop.py",),
    ),
    Mutant(
        "open loop: the model sees everything",
        OPEN_LOOP,
        "(actions[:, :context], begun, is_first[:, :context])",
        "(actions, batch.observations, is_first)",
        ("tests/analysis/test_open_loop.py",),
    ),
    Mutant(
        "open loop: rewards one step off",
        OPEN_LOOP,
        "reward = th.stack([batch.rewards, expected])",
        "reward = th.stack([batch.rewards, expected.roll(1, 1)])",
        ("tests/analysis/test_open_loop.py",),
    ),
    Mutant(
        "evaluation: the interval of the population's deviation",
        EVALUATION,
        "returns.std(ddof=1)",
        "returns.std()",
        ("tests/analysis/test_evaluation.py",),
    ),
    Mutant(
        "evaluation: the interval forgets the number of episodes",
        EVALUATION,
        " / np.sqrt(len(returns))",
        "",
        ("tests/analysis/test_evaluation.py",),
    ),
    Mutant(
        "training: evaluation on training's seeds",
        TRAIN,
        "run.seed + 1_000,",
        "run.seed,",
        ("tests/cli",),
    ),
    Mutant(
        "SB3's agents: the defaults for dreams come before the user's settings",
        SB3_AGENTS,
        "SETTINGS.get(name, {}) | settings",
        "settings | SETTINGS.get(name, {})",
        ("tests/analysis/test_training_in_dreams.py",),
    ),
    Mutant(
        "in a dream: the agent beside is trained as long as the dream was",
        IN_DREAMS,
        "train_sb3(name, env, model.num_timesteps, ",
        "train_sb3(name, env, dreamed.num_timesteps, ",
        ("tests/analysis/test_training_in_dreams.py",),
    ),
    Mutant(
        "in a dream: the agent's arguments are forgotten",
        IN_DREAMS,
        "agent = train_sb3(name, dream, steps, seed=seed, **settings)",
        "agent = train_sb3(name, dream, steps, seed=seed)",
        ("tests/analysis/test_training_in_dreams.py",),
    ),
    Mutant(
        "agreement: time limits count as terminations",
        AGREEMENT,
        "return obs, reward, done & ~limit, done",
        "return obs, reward, done, done",
        ("tests/analysis/test_agreement.py",),
    ),
    Mutant(
        "agreement: errors of episodes that are over count",
        AGREEMENT,
        "return np.asarray((values * running).sum(1) / running.sum(1))",
        "return np.asarray(values.mean(1))",
        ("tests/analysis/test_agreement.py",),
    ),
    Mutant(
        "VectorEnv for SB3: terminations count as time limits",
        VEC,
        "bool(limit[i] and not ended[i])",
        "bool(limit[i] or ended[i])",
        ("tests/envs/test_vector_env_to_vec_env.py", *TESTS),
    ),
    Mutant(
        "VectorEnv for SB3: the last observation is the next episode's first",
        VEC,
        "infos[i] |= ends[i]\n",
        "infos[i] |= ends[0]\n",
        ("tests/envs/test_vector_env_to_vec_env.py", *TESTS),
    ),
    Mutant(
        "open loop: what came before is forgotten",
        OPEN_LOOP,
        "states = model.filter(begin, *seen, generator)",
        "states = model.filter(model.initial(rows), *seen, generator)",
        ("tests/analysis/test_open_loop.py",),
    ),
    Mutant(
        "open loop: sequences that are given states begin anew",
        OPEN_LOOP,
        "begin, is_first[:, 0] = model.initial(rows), True",
        "begin = model.initial(rows)\n    is_first[:, 0] = True",
        ("tests/analysis/test_open_loop.py",),
    ),
    Mutant(
        "open loop: a video begins anew in the midst of episodes",
        "zoo/analysis/callbacks.py",
        "model.start_latent(whole) if isinstance(whole, SequenceBatch) else None",
        "None",
        ("tests/analysis/test_open_loop.py",),
    ),
    Mutant(
        "open loop: every part of a long play begins anew",
        "zoo/analysis/playing.py",
        "begin = state_after(model.policy, sequences, begin, generator)",
        "begin = model.world_model.initial(env.num_envs)",
        ("tests/analysis/test_open_loop.py",),
    ),
]
