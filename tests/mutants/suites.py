"""Mistakes in the suites of the papers: Crafter, ProcGen, their protocols."""

from tests.mutants.mutant import Mutant

CRAFTER, PROCGEN, MAKE, BSUITE = (f"envs/{x}.py" for x in ("crafter", "procgen", "make", "bsuite"))
CRAFTER_TESTS = ("tests/envs/test_crafter.py",)
PROCGEN_TESTS = ("tests/envs/test_procgen.py",)
SUITES, SCORE = (f"zoo/benchmark/{x}.py" for x in ("suites", "crafter"))
SUITES_TESTS = ("tests/benchmark/test_suites.py",)

MUTANTS = [
    Mutant(
        "crafter: an address decides which creature leaves",
        CRAFTER,
        "            _choose_in_order(self._game)\n",
        "",
        CRAFTER_TESTS,
    ),
    Mutant(
        "crafter: the limit of steps is a death",
        CRAFTER,
        'died = info["discount"] == 0',
        "died = ended",
        CRAFTER_TESTS,
    ),
    Mutant(
        "crafter: a seed shows the same world again and again",
        CRAFTER,
        "if self._game is None or seed is not None:",
        "if True:",
        CRAFTER_TESTS,
    ),
    Mutant(
        "crafter: all steps tell one place",
        CRAFTER,
        "info = deepcopy(found)",
        "info = dict(found)",
        CRAFTER_TESTS,
    ),
    Mutant(
        "crafter: rewards are there in either task",
        CRAFTER,
        "reward=self.rewards",
        "reward=True",
        CRAFTER_TESTS,
    ),
    Mutant(
        "procgen: a level is left out after each",
        PROCGEN,
        "elif not self._untouched:",
        "else:",
        PROCGEN_TESTS,
    ),
    Mutant(
        "procgen: the last image of an episode is the first of the next",
        PROCGEN,
        "        if not self._untouched:\n            self._seen",
        "        if True:\n            self._seen",
        PROCGEN_TESTS,
    ),
    Mutant(
        "procgen: a reset in between goes on with the level",
        PROCGEN,
        "self._game.act(np.array([self._RESTART]))",
        "pass",
        PROCGEN_TESTS,
    ),
    Mutant(
        "procgen: images come from the small frame",
        PROCGEN,
        "Image.fromarray(self._frame)",
        "Image.fromarray(native)",
        PROCGEN_TESTS,
    ),
    Mutant(
        "procgen: gymnasium stays in the place of gym",
        PROCGEN,
        "            del sys.modules[name]",
        "            pass",
        PROCGEN_TESTS,
    ),
    Mutant(
        "procgen: levels are easy",
        PROCGEN,
        "        distribution_mode=distribution_mode,\n",
        '        distribution_mode="easy",\n',
        PROCGEN_TESTS,
    ),
    Mutant(
        "bsuite: a download that failed is told as it came",
        BSUITE,
        "except URLError as error:",
        "except KeyError as error:",
        ("tests/envs/test_memory_suites.py",),
    ),
    Mutant(
        "names: a paper's name is another environment to runs and settings",
        MAKE,
        "{_PAPERS_NAMES.get(suite, suite)}",
        "{suite}",
        ("tests/envs/test_make.py",),
    ),
    Mutant(
        "suites: steps count the action repeat",
        SUITES,
        "self.frames // self.action_repeat",
        "self.frames // 1",
        SUITES_TESTS,
    ),
    Mutant(
        "suites: settings of bsuite begin with 1",
        SUITES,
        "for number in range(self.settings)",
        "for number in range(1, self.settings + 1)",
        SUITES_TESTS,
    ),
    Mutant(
        "suites: all rows that begin with a suite's name belong to it",
        SUITES,
        'if name in row["suites"].split()',
        'if row["suites"].startswith(name)',
        SUITES_TESTS,
    ),
    Mutant(
        "suites: what cannot be had seems to be there",
        SUITES,
        'UNAVAILABLE.get(name, "")',
        '""',
        SUITES_TESTS,
    ),
    Mutant(
        "crafter: the score is an arithmetic mean",
        SCORE,
        "np.exp(np.log1p(shares).mean()) - 1",
        "shares.mean()",
        SUITES_TESTS,
    ),
    Mutant(
        "settings: DreamerV3's published ratio is that of another suite",
        "zoo/hyperparams/dreamer_v3.py",
        '"train_ratio": task.train_ratio,',
        '"train_ratio": 32.0,',
        SUITES_TESTS,
    ),
    Mutant(
        "settings: a paper's name of an environment has none",
        "zoo/hyperparams/__init__.py",
        "    env = env_name(env)\n",
        "",
        SUITES_TESTS,
    ),
    Mutant(
        "bsuite: a random player's rewards are doubled",
        BSUITE,
        "float(moment.reward), ended",
        "2 * float(moment.reward), ended",
        ("tests/benchmark/test_random_scores.py",),
    ),
]
