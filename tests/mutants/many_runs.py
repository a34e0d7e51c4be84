"""Mistakes in how many runs are started, watched, tried again and shown."""

from tests.mutants.mutant import Mutant

MANY, JOB, FOLDERS, STANDING, BOARD = (
    "zoo/benchmark/many_runs.py",
    *(f"zoo/benchmark/many/{name}.py" for name in ("job", "folders", "standing", "board")),
)
ONE_RUN = "zoo/benchmark/many/one_run.py"
WATCH, LOCAL, ON_RAY, ON_NODE = (
    f"zoo/launch/{name}.py" for name in ("watch", "local", "on_ray", "on_node")
)
OF_RAY, OF_NODES = ("tests/launch/test_on_ray.py",), ("tests/launch/test_nodes.py",)
OF_RUNS, OF_PROCESSES = ("tests/benchmark/test_many_runs.py",), ("tests/launch/test_processes.py",)

MUTANTS = [
    Mutant(
        "many runs: nodes that do not see the folder count as room for a run",
        ON_RAY,
        ' if node["NodeID"] not in self._avoided]',
        "]",
        OF_RAY,
    ),
    Mutant(
        "many runs: what shall begin anew goes on",
        MANY,
        "remove_earlier_run(out)",
        "pass",
        OF_RUNS,
    ),
    Mutant(
        "many runs: what began anew is removed again where it was killed",
        MANY,
        "            self.anew.remove(out)\n",
        "",
        OF_RUNS,
    ),
    Mutant(
        "many runs: an error of its own is repeated",
        JOB,
        "return outcome.was_killed and self.tries <= retries",
        "return self.tries <= retries",
        OF_RUNS,
    ),
    Mutant(
        "many runs: a new save gives no new tries",
        JOB,
        "            self.tries = 1\n",
        "            self.tries += 1\n",
        OF_RUNS,
    ),
    Mutant(
        "many runs: another try does not wait for the lock of a dead process",
        JOB,
        "patience = PATIENCE if self.tries else 0",
        "patience = 0",
        OF_RUNS,
    ),
    Mutant(
        "many runs: the place of an earlier attempt counts",
        JOB,
        "place is not None and place.token == self._token",
        "place is not None",
        OF_RUNS,
    ),
    Mutant(
        "many runs: a run is finished before its last save",
        FOLDERS,
        "int(steps) < run.steps",
        "int(steps) < 0",
        OF_RUNS,
    ),
    Mutant(
        "many runs: half a line of a log counts",
        STANDING,
        r'whole = file.read().rpartition(b"\n")[0].decode()',
        r'whole = file.read().rstrip(b"\n").decode()',
        OF_RUNS,
    ),
    Mutant(
        "many runs: what is left does not fall between two looks",
        STANDING,
        " - (now - self._last[1]), 0.0)",
        ", 0.0)",
        OF_RUNS,
    ),
    Mutant(
        "many runs: the table shows runs that wait",
        BOARD,
        "begun = [job for job in running if job.place is not None]",
        "begun = list(running)",
        OF_RUNS,
    ),
    Mutant(
        "launch: a process outlives the one that watches it",
        WATCH,
        "    Thread(target=_end_with_input, daemon=True).start()\n",
        "",
        OF_PROCESSES,
    ),
    Mutant(
        "launch: what a process has started outlives it",
        WATCH,
        "            start_new_session=True,\n",
        "",
        OF_PROCESSES,
    ),
    Mutant(
        "launch: what a killed process has started outlives it",
        WATCH,
        "    if process.poll() == 0:\n",
        "    if process.poll() is not None:\n",
        OF_PROCESSES,
    ),
    Mutant(
        "launch: reading the input spoils a good end",
        WATCH,
        "while os.read(0, 1):",
        "while sys.stdin.buffer.read(1):",
        OF_PROCESSES,
    ),
    Mutant(
        "launch: termination closes nothing",
        WATCH,
        "    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))\n",
        "",
        OF_PROCESSES,
    ),
    Mutant(
        "launch: all runs are put on the first GPU",
        LOCAL,
        "            self._used[name] += 1\n",
        "            pass\n",
        OF_PROCESSES,
    ),
    Mutant(
        "launch: a device that is named is not taken at its word",
        LOCAL,
        'device not in ("cuda", "auto")',
        'device == "cpu"',
        OF_PROCESSES,
    ),
    Mutant(
        "many runs: a process begins where another one has finished",
        ONE_RUN,
        "    if is_finished(run):  # by the process that held the lock\n        return\n",
        "",
        OF_RUNS,
    ),
    Mutant(
        "many runs: a process overwrites what it was to go on with",
        ONE_RUN,
        'train([*words, "--resume" if goes_on else "--overwrite"])',
        'train([*words, "--overwrite"])',
        OF_RUNS,
    ),
    Mutant(
        "launch: a node that does not see the folder gets runs again",
        ON_RAY,
        "            self._avoided.add(node)\n",
        "            pass\n",
        OF_RAY,
    ),
    Mutant(
        "launch: Ray tries again by itself",
        ON_RAY,
        '"max_retries": 0',
        '"max_retries": 3',
        OF_RAY,
    ),
    Mutant(
        "launch: tasks are killed where the call ends, and close nothing",
        ON_RAY,
        "            self._ray.cancel(ref)\n        if refs",
        "            pass\n        if refs",
        OF_RAY,
    ),
    Mutant(
        "launch: a node that does not see the folder is fit for runs",
        ON_RAY,
        "    if report.unseen:\n",
        "    if False:\n",
        OF_NODES,
    ),
    Mutant(
        "launch: a node with another torch is fit for runs",
        ON_RAY,
        "    if report.versions != here.versions:\n",
        "    if report.versions.keys() != here.versions.keys():\n",
        OF_NODES,
    ),
    Mutant(
        "launch: locks within one machine are taken for missing",
        ON_RAY,
        "if report.unlocked and report.host != here.host:",
        "if report.unlocked:",
        OF_NODES,
    ),
    Mutant(
        "launch: any device waits for a GPU where there is none",
        ON_RAY,
        'cluster.get("GPU", 0) > 0',
        'cluster.get("GPU", 0) >= 0',
        OF_NODES,
    ),
    Mutant(
        "launch: a process starts where the node was started",
        ON_NODE,
        "Outcome(watch(attempt, cwd=cwd))",
        "Outcome(watch(attempt))",
        OF_RAY,
    ),
    Mutant(
        "launch: a folder that is not there is seen",
        ON_NODE,
        "if not mark.exists()]",
        "if not mark.parent.name]",
        OF_NODES,
    ),
]
