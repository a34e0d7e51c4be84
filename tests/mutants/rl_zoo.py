"""Mistakes in what RL Zoo learns of the agents."""

from tests.mutants.mutant import Mutant

COMMANDS, REGISTRATION = "zoo/rl_zoo/commands.py", "zoo/rl_zoo/registration.py"
SEARCH, FORMAT = "zoo/rl_zoo/search.py", "zoo/hyperparams/zoo_format.py"
TESTS = ("tests/sb3/test_rl_zoo.py",)
OF_SETTINGS = ("tests/hyperparams/test_zoo_format.py",)

MUTANTS = [
    Mutant(
        "rl_zoo: what the Zoo takes out of settings is gone for the next run",
        FORMAT,
        "return deepcopy(super().__getitem__(env))",
        "return dict(super().__getitem__(env))",
        OF_SETTINGS,
    ),
    Mutant(
        "rl_zoo: rates that the Zoo does not read stay text",
        FORMAT,
        'name == "learning_rate" or not isinstance',
        "True or not isinstance",
        OF_SETTINGS,
    ),
    Mutant(
        "rl_zoo: settings without an end of training are offered",
        FORMAT,
        'if "n_timesteps" in given',
        "if given",
        OF_SETTINGS,
    ),
    Mutant(
        "rl_zoo: evaluations get no arguments of their environment",
        COMMANDS,
        "if env_kwargs and given.env_kwargs is None:",
        "if env_kwargs and given.env_kwargs:",
        TESTS,
    ),
    Mutant(
        "rl_zoo: settings of a user are overruled",
        COMMANDS,
        " or given.conf_file is not None:",
        ":",
        TESTS,
    ),
    Mutant(
        "rl_zoo: arguments of the process stay the Zoo's",
        COMMANDS,
        "        sys.argv = before\n",
        "        pass\n",
        TESTS,
    ),
    Mutant(
        "rl_zoo: searches are those of other agents",
        REGISTRATION,
        "= partial(sample, search)",
        '= partial(sample, SEARCHES["planet"])',
        TESTS,
    ),
    Mutant(
        "rl_zoo: a second registration changes the first",
        REGISTRATION,
        "_ids() - gym.registry.keys()",
        "_ids() | gym.registry.keys()",
        TESTS,
    ),
    Mutant(
        "rl_zoo: a search cannot find the default",
        SEARCH,
        '"learning_rate": Between(4e-5, 1e-3),',
        '"learning_rate": Between(1e-4, 1e-3),',
        TESTS,
    ),
    Mutant(
        "rl_zoo: a search leaves a run without a model",
        COMMANDS,
        "            if made is None:\n",
        "            if False:\n",
        TESTS,
    ),
    Mutant(
        "rl_zoo: an agent is not known by its class",
        COMMANDS,
        'if sign or flag == "--algo":',
        "if sign:",
        TESTS,
    ),
    Mutant(
        "rl_zoo: an agent is not known by its class after a sign",
        COMMANDS,
        'if sign or flag == "--algo":',
        'if flag == "--algo":',
        TESTS,
    ),
    Mutant(
        "rl_zoo: arguments of environments among the settings of a user are overruled",
        COMMANDS,
        ", **given.hyperparams}",
        "}",
        TESTS,
    ),
]
