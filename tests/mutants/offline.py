"""Mistakes in what is read of recordings and learned from them."""

from tests.mutants.mutant import Mutant

LEARNING, RECORDING = "zoo/common/offline_learning.py", "zoo/common/recording.py"
HELD_OUT, OPEN_LOOP = "zoo/offline/held_out.py", "zoo/analysis/open_loop.py"
NPZ, SB3 = "zoo/offline/npz.py", "zoo/offline/replay_buffer.py"
WORLDS, BEHAVIOR = "zoo/benchmark/offline/worlds.py", "zoo/benchmark/offline/behavior.py"
OF_WORLDS = ("tests/benchmark/offline/test_offline.py",)
OF_LEARNING = ("tests/offline/test_learning.py",)
OF_RECORDINGS = ("tests/offline/test_recordings.py",)

MUTANTS = [
    Mutant(
        "recordings: time limits are taken for ends",
        LEARNING,
        '{"TimeLimit.truncated": not episode.terminated}',
        '{"TimeLimit.truncated": False}',
        OF_LEARNING,
    ),
    Mutant(
        "recordings: the last observation of an episode is the one before",
        LEARNING,
        "after, reward, done = _at(observed, i + 1), rewards[i : i + 1]",
        "after, reward, done = _at(observed, i), rewards[i : i + 1]",
        OF_LEARNING,
    ),
    Mutant(
        "recordings: channels of images stay where they are",
        LEARNING,
        "    if transpose is not None:\n",
        "    if False:\n",
        OF_LEARNING,
    ),
    Mutant(
        "recordings: a replay overwrites what does not fit",
        LEARNING,
        "        if records > free:\n",
        "        if False:\n",
        OF_LEARNING,
    ),
    Mutant(
        "recordings: spaces are not compared",
        LEARNING,
        "    check_for_correct_spaces(seen, agent.observation_space, agent.action_space)\n",
        "",
        OF_LEARNING,
    ),
    Mutant(
        "held-out errors: a sequence goes on behind the end of its episode",
        OPEN_LOOP,
        "    over, index = index > last, index.clamp(max=last)\n",
        "    over, index = index > last + 1, index.clamp(max=last)\n",
        OF_LEARNING,
    ),
    Mutant(
        "held-out errors: actions are a step late",
        OPEN_LOOP,
        "actions[0][index[:, 1:]].transpose(0, 1)",
        "actions[0][index[:, :-1]].transpose(0, 1)",
        OF_LEARNING,
    ),
    Mutant(
        "held-out errors: the model sees a step more than it should",
        OPEN_LOOP,
        "select(states, (0, index[:, 0]))",
        "select(states, (0, index[:, 1]))",
        OF_LEARNING,
    ),
    Mutant(
        "held-out errors: all episodes count alike, however long",
        HELD_OUT,
        "counts = np.maximum(recording.lengths + 1 - context, 0)",
        "counts = np.minimum(np.maximum(recording.lengths + 1 - context, 0), 9)",
        OF_LEARNING,
    ),
    Mutant(
        "recordings: a wrong length is believed",
        RECORDING,
        "source.length(number) != episode.steps",
        "False",
        OF_LEARNING,
    ),
    Mutant(
        "npz: the authors' first observation counts as a step",
        NPZ,
        'len(file["reward"]) - 1',
        'len(file["reward"])',
        OF_RECORDINGS,
    ),
    Mutant(
        "learn_offline: it is saved at its end alone",
        LEARNING,
        "            callback.on_rollout_start()  # between updates: a SaveCallback saves\n",
        "",
        OF_LEARNING,
    ),
    Mutant(
        "learn_offline: schedules stand still",
        LEARNING,
        "            agent._update_current_progress_remaining(agent.num_timesteps, total)\n",
        "",
        OF_LEARNING,
    ),
    Mutant(
        "learn_offline: a callback cannot stop it",
        LEARNING,
        "            return callback.on_step()\n",
        "            callback.on_step()\n            return True\n",
        OF_LEARNING,
    ),
    Mutant(
        "learn_offline: it begins where schedules ended before",
        LEARNING,
        "        agent._update_current_progress_remaining(agent.num_timesteps, total)\n"
        "        goes_on = True\n",
        "        goes_on = True\n",
        OF_LEARNING,
    ),
    Mutant(
        "learn_offline: schedules move at log lines",
        "zoo/common/replay_agent.py",
        "        for _ in range(gradient_steps):\n            self._begin_updates()\n",
        "        self._begin_updates()\n        for _ in range(gradient_steps):\n",
        OF_LEARNING,
    ),
    Mutant(
        "recordings: which step is wrong is not said",
        LEARNING,
        '            where = f"{recording.name_of(index)}, step {i}"\n',
        "",
        OF_LEARNING,
    ),
    Mutant(
        "recordings: what is held out is learned from, too",
        RECORDING,
        "self._part(sorted(order[first:]))",
        "self._part(sorted(order[first - 1 :]))",
        OF_RECORDINGS,
    ),
    Mutant(
        "recordings: parts that do not belong together are taken",
        RECORDING,
        "    if not steps or not fits:\n",
        "    if not steps:\n",
        OF_RECORDINGS,
    ),
    Mutant(
        "npz: the authors' actions are a step late",
        NPZ,
        'actions = found["action"][1:]',
        'actions = found["action"][:-1]',
        OF_RECORDINGS,
    ),
    Mutant(
        "npz: files can run code",
        NPZ,
        "np.load(path, allow_pickle=False)",
        "np.load(path, allow_pickle=True)",
        OF_RECORDINGS,
    ),
    Mutant(
        "replays of SB3: a full ring is read from its first row",
        SB3,
        "            order = (order + buffer.pos) % size\n",
        "            pass\n",
        OF_RECORDINGS,
    ),
    Mutant(
        "replays of SB3: episodes go on where learning began again",
        SB3,
        " | _breaks(buffer, order)",
        "",
        OF_RECORDINGS,
    ),
    Mutant(
        "replays of SB3: one part of observations is compared",
        SB3,
        "found[first : first + n] |= differ",
        "found[first : first + n] = differ",
        OF_RECORDINGS,
    ),
    Mutant(
        "replays of SB3: actions stay in units of [-1, 1]",
        SB3,
        "    if isinstance(space, spaces.Box):\n",
        "    if False:\n",
        OF_RECORDINGS,
    ),
    Mutant(
        "replays of SB3: streams of environments are mixed",
        SB3,
        "            return np.concatenate([part[rows, env], following[rows[-1:], env]])",
        "            return np.concatenate([part[rows, 0], following[rows[-1:], 0]])",
        OF_RECORDINGS,
    ),
    Mutant(
        "worlds from data: what is recorded begins with a trained agent",
        BEHAVIOR,
        "_play(collector, agent if moment else None, seed)",
        "_play(collector, agent, seed)",
        OF_WORLDS,
    ),
    Mutant(
        "worlds from data: every moment is as many steps after the one before as after the first",
        BEHAVIOR,
        "missing = moment - agent.num_timesteps",
        "missing = moment",
        OF_WORLDS,
    ),
    Mutant(
        "worlds from data: a world that goes on makes all of its updates again",
        WORLDS,
        "left = task.updates - model.num_timesteps",
        "left = task.updates",
        OF_WORLDS,
    ),
    Mutant(
        "worlds from data: a seed that is finished is run again",
        WORLDS,
        "    if (folder / RESULTS).exists():\n",
        "    if False:\n",
        OF_WORLDS,
    ),
    Mutant(
        "worlds from data: PPO is trained again",
        WORLDS,
        "    if path.exists():\n",
        "    if False:\n",
        OF_WORLDS,
    ),
    Mutant(
        "worlds from data: returns depend on what was computed before",
        WORLDS,
        "    set_random_seed(seed + 10_000)\n",
        "",
        OF_WORLDS,
    ),
]
