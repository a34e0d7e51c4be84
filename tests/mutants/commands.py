"""Mistakes in the command line: runs that are begun, resumed and overwritten."""

from tests.mutants.mutant import Mutant

STORED, ARGUMENTS = "zoo/common/storage/agents.py", "zoo/cli/arguments.py"
RUNS, CONFIG = "zoo/benchmark/runs.py", "zoo/benchmark/run_config.py"
OF_RUNS = ("tests/cli/test_train.py", "tests/benchmark/test_runs.py")

MUTANTS = [
    Mutant(
        "published: variants need no environment of the paper's",
        "zoo/hyperparams/__init__.py",
        "not any(name in free for name in variants)",
        "not variants",
        ("tests/hyperparams",),
    ),
    Mutant(
        "load: files of PPO are taken for A2C's",
        STORED,
        "fits = [min(of_sb3, key=",
        "fits = [max(of_sb3, key=",
        ("tests/common/storage/test_agents.py",),
    ),
    Mutant(
        "commands: mistakes of the program lose their traceback",
        ARGUMENTS,
        "    except _OF_USERS as error:\n",
        "    except Exception as error:\n",
        ("tests/cli/test_bad_input.py",),
    ),
    Mutant(
        "commands: arguments of no environment are overlooked",
        "zoo/cli/real_env.py",
        "if args.env is None and args.env_kwargs:",
        "if False:",
        ("tests/cli/test_bad_input.py",),
    ),
    Mutant(
        "report: a trusted model of an earlier form has none",
        "zoo/common/storage/inspection.py",
        '    except OtherFormat:\n        return ""\n',
        "    except OtherFormat:\n        raise\n",
        ("tests/cli/test_earlier_runs.py",),
    ),
    Mutant(
        "commands: seeds that numpy does not take are let in",
        ARGUMENTS,
        "whole(0)(text)) < 2**32:",
        "whole(0)(text)) <= 2**32:",
        ("tests/cli/test_bad_input.py",),
    ),
    Mutant(
        "runs: an earlier one is overwritten without a word",
        RUNS,
        "        refuse_earlier_run(run.out)\n",
        "        pass\n",
        OF_RUNS,
    ),
    Mutant(
        "runs: logs of the one that is overwritten stay",
        "zoo/benchmark/run_config.py",
        "            path.unlink()\n",
        '            path.unlink() if path.name == "saves.json" else None\n',
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
    Mutant(
        "commands: a figure's package is missed when the figure is drawn",
        "zoo/analysis/open_loop_files.py",
        "    import matplotlib.figure  #",
        "    #",
        ("tests/cli/test_main.py",),
    ),
]
