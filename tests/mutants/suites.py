"""Mistakes in the suites of the papers: Crafter, ProcGen, their protocols."""

from tests.mutants.mutant import Mutant

CRAFTER, PROCGEN, MAKE, BSUITE = (f"envs/{x}.py" for x in ("crafter", "procgen", "make", "bsuite"))
CRAFTER_TESTS = ("tests/envs/test_crafter.py",)
PROCGEN_TESTS = ("tests/envs/test_procgen.py",)

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
        'Image.fromarray(self._game.get_info()[0]["rgb"])',
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
]
