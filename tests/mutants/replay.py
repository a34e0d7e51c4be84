"""Mistakes in the replay: what is stored, what is sampled, what is written back."""

from tests.mutants.mutant import Mutant

BUFFER, STORE = "zoo/common/buffers.py", "zoo/common/record_store.py"
TESTS = (
    "tests/common/test_buffers.py",
    "tests/common/test_buffer_storage.py",
    "tests/common/test_record_store.py",
    "tests/dreamer_v3/test_alignment.py",
    "tests/dreamer_v3",
)


def _buffer(what: str, old: str, new: str) -> Mutant:
    return Mutant(f"replay: {what}", BUFFER, old, new, TESTS)


MUTANTS = [
    _buffer(
        "rewards belong to the observation before",
        '"rewards": self._next_reward,',
        '"rewards": np.asarray(reward, np.float32).reshape(self.n_envs),',
    ),
    _buffer(
        "the reward at an end belongs to the next episode, too",
        "self._next_reward[:] = np.where(done, 0.0, reward)",
        "self._next_reward[:] = reward",
    ),
    _buffer(
        "starts of episodes are not marked",
        "self._next_first[:] = done\n",
        "self._next_first[:] = False\n",
    ),
    _buffer(
        "the last observation is that of the next episode",
        "record = {k: v[ended] for k, v in self._flatten_obs(next_obs).items()}",
        "record = {k: v[ended] for k, v in self._flatten_obs(obs).items()}",
    ),
    _buffer(
        "the last reward is lost",
        '            record["rewards"] = reward[ended]\n',
        "",
    ),
    _buffer(
        "time limits count as terminations",
        'record["dones"], record["timeouts"] = done[ended], timeout[ended]',
        'record["dones"], record["timeouts"] = done[ended], False',
    ),
    _buffer(
        "actions are those chosen after their observations",
        "previous[:, 1:] = actions[:, :-1]",
        "previous[:] = actions",
    ),
    _buffer(
        "actions cross resets",
        "        previous[first] = 0  # at a reset there was no action\n",
        "",
    ),
    _buffer(
        "a window without context does not begin anew",
        "        if not context:\n            first[:, 0] = True\n",
        "",
    ),
    _buffer(
        "an episode that is cut has no end",
        "        last[:, :-1] |= first[:, 1:]\n",
        "",
    ),
    _buffer(
        "windows cross the write head",
        "oldest = self._count[envs] - stored[envs]",
        "oldest = self._count[envs] - stored[envs] + 1",
    ),
    _buffer(
        "the last complete window is never drawn",
        "items = np.maximum(stored - length + 1, 0)",
        "items = np.maximum(stored - length, 0)",
    ),
    _buffer(
        "all windows come from the first stream",
        'envs = np.searchsorted(edges, draw, side="right")',
        "envs = np.zeros(n, np.int64)",
    ),
    _buffer(
        "streams are drawn alike, however long they are",
        'envs = np.searchsorted(edges, draw, side="right")',
        'envs = np.searchsorted(edges, draw, side="left")',
    ),
    _buffer(
        "latents of the first trained record start the filtering",
        'latents = self._latents.get(there["records"][:, 0], device)',
        'latents = self._latents.get(there["records"][:, 1], device)',
    ),
    _buffer(
        "refreshed latents are written one record off",
        "Windows(envs, starts + context),",
        "Windows(envs, starts),",
    ),
    _buffer(
        "refreshed latents go to the wrong stream",
        '{k: x[where["kept"]] for k, x in rows.items()}',
        '{k: x[where["kept"].flip(0)] for k, x in rows.items()}',
    ),
    _buffer(
        "of rows that overlap the earlier wins",
        "kept = len(record) - 1 - np.unique(record[::-1], return_index=True)[1]",
        "kept = np.unique(record, return_index=True)[1]",
    ),
    _buffer(
        "records that were overwritten meanwhile get old latents",
        "kept = kept[index[kept] >= self._count[env[kept]] - self.buffer_size]",
        "kept = kept[index[kept] >= 0]",
    ),
    _buffer(
        "windows queued as new are replayed although overwritten",
        "            if not self._is_overwritten(env, start):\n                popped",
        "            if True:\n                popped",
    ),
    _buffer(
        "windows that nobody asks for pile up",
        "while self._online and self._is_overwritten(*self._online[0]):",
        "while False:",
    ),
    _buffer(
        "new windows are never replayed first",
        "if last % window == 0 and last >= window - 1:",
        "if last % window == 0 and last < 0:",
    ),
    _buffer(
        "reports take windows queued as new",
        "queued = self._pop_online(batch_size) if online and length",
        "queued = self._pop_online(batch_size) if length",
    ),
    _buffer(
        "rewards are not normalized on their way out",
        'rewards = self._normalize_reward(self._take("rewards", flat), vec_normalize)',
        'rewards = self._take("rewards", flat)',
    ),
    _buffer(
        "staged latents are stored twice",
        "        self._staged = {}\n        self._next_reward",
        "        self._next_reward",
    ),
    _buffer(
        "records of another stream are read",
        "flat = rows * self.n_envs + envs[:, None]",
        "flat = rows * self.n_envs + envs[::-1, None]",
    ),
    Mutant(
        "record store: missing parts keep what was there",
        STORE,
        "                tensor[index] = 0\n                continue",
        "                continue",
        TESTS,
    ),
]
