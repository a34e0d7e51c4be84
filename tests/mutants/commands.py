"""Mistakes in the command line: runs that are begun, resumed and overwritten."""

from tests.mutants.mutant import Mutant

RUNS, CONFIG = "zoo/benchmark/runs.py", "zoo/benchmark/run_config.py"
OF_RUNS = ("tests/cli/test_train.py", "tests/benchmark/test_runs.py")

MUTANTS = [
    Mutant(
        "runs: an earlier one is overwritten without a word",
        RUNS,
        "        refuse_earlier_run(run.out)\n",
        "        pass\n",
        OF_RUNS,
    ),
    Mutant(
        "runs: logs of the one that is overwritten stay",
        RUNS,
        "            path.unlink()\n",
        '            path.unlink() if path.name == "model.zip" else None\n',
        OF_RUNS,
    ),
    Mutant(
        "runs: a resumed one takes settings that it did not have",
        CONFIG,
        "            if key not in known:\n",
        "            if False:\n",
        OF_RUNS,
    ),
    Mutant(
        "runs: a resumed one forgets its environment's arguments",
        CONFIG,
        "for name, had in pairs.items()}",
        "for name, had in pairs.items() if had is None}",
        OF_RUNS,
    ),
    Mutant(
        "runs: tuples come back as lists",
        CONFIG,
        '    return {"python": repr(value)}\n',
        "    return value\n",
        OF_RUNS,
    ),
]
