"""Mistakes in what goes on around updates: collecting, counting, acting, saving and resuming."""

from tests.mutants.mutant import Mutant

REPLAY_AGENT, MEMORY_AGENT = "zoo/common/replay_agent.py", "zoo/common/memory_agent.py"
GRADIENTS, HAS_MODEL = (
    "zoo/common/gradient_updates.py",
    "zoo/common/world_model_algorithm.py",
)
RESUMING = "zoo/common/exact_resume.py"
RECURRENT = "zoo/common/policies/recurrent.py"
POLICIES, TRAINING = "zoo/common/policies/world_model.py", "zoo/common/training.py"
CALLBACKS, THREADS = "zoo/analysis/callbacks.py", "zoo/nn/fast/threads.py"
RECORDED, GRAPHS = "zoo/common/recorded_update.py", "zoo/nn/fast/graphs.py"
SB3 = "tests/sb3"
ROLLOUTS, OF_ROLLOUTS = "zoo/common/rollout_agent.py", ("tests/common/test_rollout_agent.py",)
OF_RESUMING = ("tests/common/test_exact_resume.py",)
OF_AGENTS = ("tests/planet/test_oracle.py", "tests/dreamer_v3/test_oracle.py", "tests/dreamer_v3")
RECORDINGS = "zoo/nn/fast/recordings.py"
OF_ACTING = ("tests/test_recorded_acting.py", "tests/envs/dreams/test_recorded.py")
OF_RECORDED = ("tests/nn/fast/test_graphs.py", "tests/test_recorded_updates.py")
TESTS = ("tests/sb3/test_run.py", "tests/sb3/test_resume.py", "tests/dreamer_v3", SB3)

MUTANTS = [
    Mutant(
        "updates: weights of the terms are not applied",
        GRADIENTS,
        "{name: weights.get(name, 1.0) * term for name, term in losses.items()}",
        "dict(losses)",
        OF_AGENTS,
    ),
    Mutant(
        "updates: actions of the step before are filtered with",
        HAS_MODEL,
        "self.policy.action_codec.encode(batch.actions),\n",
        "self.policy.action_codec.encode(batch.actions).roll(1, 1),\n",
        OF_AGENTS,
    ),
    Mutant(
        "updates: gradients add up",
        GRADIENTS,
        "            optimizer.zero_grad()\n",
        "            pass\n",
        OF_AGENTS,
    ),
    Mutant(
        "updates: reconstructions are not told apart by their keys",
        TRAINING,
        'f"recon_{name}" if model.codec.is_dict else "recon"',
        '"recon"',
        (*OF_AGENTS, "tests/sb3/test_logging.py"),
    ),
    Mutant(
        "updates: the warm-up is caught up on",
        REPLAY_AGENT,
        "            self._updates_due = 1.0\n",
        "            self._updates_due = self.num_timesteps * self.train_ratio / (\n"
        "                self.batch_size * self.batch_length\n            )\n",
        TESTS,
    ),
    Mutant(
        "updates: fractions are lost",
        REPLAY_AGENT,
        "        self._updates_due -= updates\n",
        "        self._updates_due = 0.0\n",
        TESTS,
    ),
    Mutant(
        "updates: batch_length does not count",
        REPLAY_AGENT,
        "self._updates_due += steps * self.train_ratio / (self.batch_size * self.batch_length)",
        "self._updates_due += steps * self.train_ratio / self.batch_size",
        TESTS,
    ),
    Mutant(
        "collecting: memories go on after the end of an episode",
        RECURRENT,
        "th.as_tensor(is_first),",
        "th.zeros(len(is_first), dtype=th.bool),",
        TESTS,
    ),
    Mutant(
        "collecting: action noise is ignored",
        REPLAY_AGENT,
        "return action + th.as_tensor(noise, device=self.device)",
        "return action",
        TESTS,
    ),
    Mutant(
        "acting: the state is forgotten at every call",
        RECURRENT,
        "is_first = np.zeros(n, bool)",
        "is_first = np.ones(n, bool)",
        ("tests/sb3/test_contract.py", SB3),
    ),
    Mutant(
        "acting: the action of before is not remembered",
        POLICIES,
        "return action, ActingState(latent, self.action_codec.encode(action))",
        "return action, ActingState(latent, self.action_codec.encode(action) * 0)",
        ("tests/sb3/test_predict.py", *TESTS),
    ),
    Mutant(
        "resuming: random numbers of collecting begin anew",
        "zoo/common/own_randomness.py",
        'self._generator.set_state(state["generator"])',
        "pass",
        ("tests/dreamer_v3/test_resume.py", "tests/sb3/test_resume.py"),
    ),
    Mutant(
        "resuming: memories begin anew",
        MEMORY_AGENT,
        "self._last_state = self.policy.memory.unpack(memory)",
        "self._last_state = self.policy.initial_state(self.n_envs)",
        ("tests/dreamer_v3/test_resume.py", "tests/sb3/test_resume.py"),
    ),
    Mutant(
        "resuming: the statistics of VecNormalize are lost",
        RESUMING,
        'vars(self._vec_normalize_env).update(state["normalizer"] or {})',
        "pass",
        ("tests/sb3/test_vec_normalize.py", "tests/sb3/test_resume.py"),
    ),
    Mutant(
        "metrics: sums instead of means",
        TRAINING,
        "return {name: total / counts[name] for name, total in totals.items()}",
        "return dict(totals)",
        ("tests/common/test_training.py", SB3),
    ),
    Mutant(
        "saving: in the middle of a step",
        CALLBACKS,
        "    def _on_rollout_start(self) -> None:\n        if self.num_timesteps",
        "    def _on_step(self) -> bool:  # type: ignore[override]\n        if self.num_timesteps",
        ("tests/sb3/test_callbacks.py", "tests/sb3/test_resume.py", "tests/dreamer_v3"),
    ),
    Mutant(
        "threads: gradients of all but the first loss are lost",
        THREADS,
        "_side_by_side(th.Tensor.backward, losses, len(losses))",
        "_side_by_side(th.Tensor.backward, losses[:1], len(losses))",
        ("tests/nn/fast/test_threads.py", "tests/dreamer_v3"),
    ),
    Mutant(
        "updates: the schedule of the learning rate is ignored",
        GRADIENTS,
        "        self._update_learning_rate(followers)\n",
        "",
        ("tests/sb3/test_run.py", "tests/sb3/test_settings.py", SB3),
    ),
    Mutant(
        "updates: windows queued as new are never taken",
        REPLAY_AGENT,
        "rows, self._vec_normalize_env, length, online=self.online_queue",
        "rows, self._vec_normalize_env, length, online=False",
        TESTS,
    ),
    Mutant(
        "updates: replayed observations are not normalized",
        REPLAY_AGENT,
        "rows, self._vec_normalize_env, length, online=self.online_queue",
        "rows, None, length, online=self.online_queue",
        ("tests/sb3/test_vec_normalize.py", *TESTS),
    ),
    Mutant(
        "updates: one step too early",
        REPLAY_AGENT,
        "return self.num_timesteps > self.learning_starts",
        "return self.num_timesteps >= self.learning_starts",
        TESTS,
    ),
    Mutant(
        "collecting: the latents of the step before are stored",
        REPLAY_AGENT,
        "replay_buffer.stage_latents(self._stored_latents(self._last_state))",
        "replay_buffer.stage_latents(getattr(self, '_late', {}))\n"
        "                self._late = self._stored_latents(self._last_state)",
        TESTS,
    ),
    Mutant(
        "updates: the slow critic follows before the step",
        RECORDED,
        "            optimizer.apply()\n        if self.inside:\n",
        "            self.agent._after_step()\n            optimizer.apply()\n        if False:\n",
        ("tests/dreamer_v3/test_oracle.py",),
    ),
    Mutant(
        "wrappers: the discount at a time limit is zero",
        "wrappers/episode_discount.py",
        "0.0 if terminated else self.gamma",
        "0.0 if terminated or truncated else self.gamma",
        ("tests/wrappers",),
    ),
    Mutant(
        "wrappers: symlog loses signs",
        "wrappers/arrays.py",
        "return xp.sign(x) * xp.log1p(xp.abs(x))",
        "return xp.log1p(xp.abs(x))",
        ("tests/wrappers",),
    ),
    Mutant(
        "wrappers: normalized actions are scaled by the whole width",
        "wrappers/transform_action.py",
        "(high / 2 - low / 2).astype(space.dtype)",
        "(high - low).astype(space.dtype)",
        ("tests/wrappers",),
    ),
    Mutant(
        "recorded updates: the optimizer's numbers are not handed over",
        RECORDED,
        "            optimizer.prepare()\n",
        "            optimizer.prepare() if not self._graph.is_recorded else None\n",
        OF_RECORDED,
    ),
    Mutant(
        "recorded updates: settings that change are taken for fixed",
        RECORDED,
        "            and self._fixed == self._fingerprint()\n",
        "",
        OF_RECORDED,
    ),
    Mutant(
        "recorded updates: averages that were loaded are not gone on from",
        RECORDED,
        "            and self._averages in (None, self._places())\n",
        "",
        OF_RECORDED,
    ),
    Mutant(
        "recorded acting: weights that lie elsewhere are not noticed",
        RECORDINGS,
        "            and [*map(Tensor.data_ptr, self.tensors)] == self._places\n",
        "",
        OF_ACTING,
    ),
    Mutant(
        "recorded acting: modules that were replaced are not noticed",
        RECORDINGS,
        "            and all(map(is_, self._values(), self._objects))\n",
        "",
        OF_ACTING,
    ),
    Mutant(
        "recorded acting: copies share recordings",
        RECORDINGS,
        '    def __deepcopy__(self, memo: dict[int, Any]) -> "Recordings":\n'
        "        return type(self)()\n",
        '    def __deepcopy__(self, memo: dict[int, Any]) -> "Recordings":\n        return self\n',
        OF_ACTING,
    ),
    Mutant(
        "recorded acting: noise of the host is recorded",
        REPLAY_AGENT,
        "return self.policy.choice() if self.action_noise is None else None",
        "return self.policy.choice()",
        OF_ACTING,
    ),
    Mutant(
        "recorded acting: random collection never ends",
        "zoo/planet/planet.py",
        "choice if choice is None else (choice, randomly, self.exploration_noise)",
        "choice",
        OF_ACTING,
    ),
    Mutant(
        "recorded acting: deterministic plans go on with the stream",
        "zoo/common/policies/recorded_acting.py",
        "return self._fixed[device].manual_seed(0)",
        "return self._fixed[device]",
        OF_ACTING,
    ),
    Mutant(
        "recorded acting: what is remembered is overwritten by the next step",
        "zoo/common/policies/recorded_acting.py",
        "result = step.result.clone()",
        "result = step.result",
        OF_ACTING,
    ),
    Mutant(
        "recorded dreams: what was returned is overwritten by the next step",
        "envs/dreams/vector_env.py",
        "return graphs.detached(step) if graph.is_recorded else step",
        "return step",
        OF_ACTING,
    ),
    Mutant(
        "parcels: rows are gathered in another order",
        "zoo/nn/fast/parcels.py",
        'return np.take(self.array, self.chosen, axis=0, out=out, mode="clip")',
        'return np.take(self.array, self.chosen[::-1], axis=0, out=out, mode="clip")',
        ("tests/nn/fast/test_parcels.py",),
    ),
    Mutant(
        "recorded updates: nobody notices that parameters have changed",
        GRAPHS,
        "        th.autograd.graph.increment_version(list(self.mutated()))\n",
        "",
        OF_RECORDED,
    ),
    Mutant(
        "graphs: another shape does not begin anew",
        GRAPHS,
        "if shape != self._shape:",
        "if self._shape is None:",
        OF_RECORDED,
    ),
    Mutant(
        "windows: they begin with the memory of now",
        ROLLOUTS,
        "self.rollout_buffer.reset(self._last_state)",
        "self.rollout_buffer.reset(self.policy.initial_state(self.n_envs))",
        OF_ROLLOUTS,
    ),
    Mutant(
        "windows: a time limit is a termination",
        ROLLOUTS,
        "dones, cut * values",
        "dones, 0.0 * cut",
        OF_ROLLOUTS,
    ),
    Mutant(
        "windows: values of the next episode stand in after a time limit",
        ROLLOUTS,
        "            part[i] = last[key] if is_dict else last\n",
        "            pass\n",
        OF_ROLLOUTS,
    ),
    Mutant(
        "windows: nothing is expected after the last step",
        ROLLOUTS,
        "        self.rollout_buffer.see_beyond(self._next_values())\n",
        "",
        OF_ROLLOUTS,
    ),
    Mutant(
        "windows: they go on where someone else has stepped the environment",
        ROLLOUTS,
        "        self.rollout_buffer.see_beyond(self._next_values(), is_end=True)\n",
        "",
        OF_ROLLOUTS,
    ),
    Mutant(
        "windows: the memory goes on after the end of an episode",
        ROLLOUTS,
        "self._last_obs, self._last_episode_starts = new_obs, dones",
        "self._last_obs, self._last_episode_starts = new_obs, dones & False",
        OF_ROLLOUTS,
    ),
    Mutant(
        "windows: advantages reach into the next episode",
        "zoo/nn/returns.py",
        "lambda_ * go_on[:, t] * following",
        "lambda_ * following",
        ("tests/nn/test_returns.py",),
    ),
    Mutant(
        "updates: only the first of several optimizers steps",
        ROLLOUTS,
        "for optimizer in self.policy.optimizers.values():",
        "for optimizer in [*self.policy.optimizers.values()][:1]:",
        OF_ROLLOUTS,
    ),
    Mutant(
        "saving: only one of several optimizers is saved",
        GRADIENTS,
        "for name in self.policy.optimizers)], []",
        "for name in [*self.policy.optimizers][:1])], []",
        OF_ROLLOUTS,
    ),
    Mutant(
        "resuming: the random numbers of torch begin anew",
        RESUMING,
        'th.set_rng_state(state["torch"])',
        "pass",
        OF_RESUMING,
    ),
    Mutant(
        "resuming: the random numbers of numpy begin anew",
        RESUMING,
        'np.random.set_state(state["numpy"])',
        "pass",
        OF_RESUMING,
    ),
    Mutant(
        "resuming: a state inside of a collection is taken for one between two",
        RESUMING,
        "return self._last_obs is not None and not self._watch.moved()",
        "return self._last_obs is not None",
        OF_RESUMING,
    ),
    Mutant(
        "resuming: the training of another save is taken up",
        "zoo/common/saved_algorithm.py",
        "return self._named == (self._progress(), moment)",
        "return self._named is not None",
        ("tests/sb3/test_resume.py",),
    ),
]
