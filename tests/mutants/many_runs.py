"""Mistakes in how many runs are started, watched, tried again and shown."""

from tests.mutants.mutant import Mutant

MANY, JOB, FOLDERS, STANDING, BOARD = (
    "zoo/benchmark/many_runs.py",
    *(f"zoo/benchmark/many/{name}.py" for name in ("job", "folders", "standing", "board")),
)
WATCH, LOCAL = "zoo/launch/watch.py", "zoo/launch/local.py"
OF_RUNS, OF_PROCESSES = ("tests/benchmark/test_many_runs.py",), ("tests/launch/test_processes.py",)

MUTANTS = [
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
]
