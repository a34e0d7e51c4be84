"""Mistakes in Minecraft: its actions, its mission, rewards, games that die, the copy of minerl."""

from tests.mutants.mutant import Mutant

ACTIONS, ENV, MISSION, INSTALL = (
    f"envs/minecraft/{x}.py" for x in ("actions", "env", "mission", "install")
)
TESTS = ("tests/envs/minecraft/test_minecraft.py",)
INSTALL_TESTS = ("tests/envs/minecraft/test_install.py",)

MUTANTS = [
    Mutant(
        "minecraft: a jump that lasts goes nowhere",
        ACTIONS,
        'action |= {"jump": 1, "forward": 1}',
        'action |= {"jump": 1}',
        TESTS,
    ),
    Mutant(
        "minecraft: who attacks may jump",
        ACTIONS,
        'action |= {"attack": 1, "jump": 0}',
        'action |= {"attack": 1}',
        TESTS,
    ),
    Mutant(
        "minecraft: turns that are refused are counted",
        ACTIONS,
        'self._pitch += action["camera"][0]',
        "self._pitch += turn",
        TESTS,
    ),
    Mutant(
        "minecraft: an episode begins with the keys of the last one",
        ENV,
        "        self._player.reset()\n",
        "",
        TESTS,
    ),
    Mutant(
        "minecraft: an item is rewarded whenever it comes back",
        ENV,
        'before["inventory_max"][index] == 0',
        'before["inventory"][index] == 0',
        TESTS,
    ),
    Mutant(
        "minecraft: health is rewarded in the game's own points",
        ENV,
        '"health": np.array([life["life"] / 20], np.float32)',
        '"health": np.array([life["life"]], np.float32)',
        TESTS,
    ),
    Mutant(
        "minecraft: acacia is no wood",
        ENV,
        '        count["log"] = count["log"] + count["log2"]\n',
        "",
        TESTS,
    ),
    Mutant(
        "minecraft: the largest count is that of the last episode",
        ENV,
        "self._steps, self._milestones, self._seen = 0, {}, {}",
        "self._steps, self._milestones = 0, {}",
        TESTS,
    ),
    Mutant(
        "minecraft: a death at the limit is also a truncation",
        ENV,
        "self._steps >= self.length and not ended",
        "self._steps >= self.length",
        TESTS,
    ),
    Mutant(
        "minecraft: the seed stays at home",
        ENV,
        "            self._game.seed(int(self.np_random.integers(2**31)), seed_spaces=False)\n",
        "",
        TESTS,
    ),
    Mutant(
        "minecraft: a game that does not answer shows a random observation",
        ENV,
        'if "error" in told:',
        'if "errors" in told:',
        TESTS,
    ),
    Mutant(
        "minecraft: a game that has died stays open",
        ENV,
        "        self.close()\n        if not isinstance",
        "        if not isinstance",
        TESTS,
    ),
    Mutant(
        "minecraft: after an interrupt the last answer is taken for the next",
        ENV,
        'except BaseException as error:\n            self._give_up(f"died',
        'except Exception as error:\n            self._give_up(f"died',
        TESTS,
    ),
    Mutant(
        "minecraft: a diamond ends the episode",
        MISSION,
        "return []  # a diamond ends nothing",
        'return [handlers.AgentQuitFromPossessingItem([{"type": "diamond", "amount": 1}])]',
        TESTS,
    ),
    Mutant(
        "minecraft: blocks break as slowly as in the game",
        MISSION,
        "return [handlers.AgentStartBreakSpeedMultiplier(self.break_speed)]",
        "return []",
        TESTS,
    ),
    Mutant(
        "minecraft: the day begins at noon",
        MISSION,
        "start_time=0",
        "start_time=6000",
        TESTS,
    ),
    Mutant(
        "minecraft: a closed environment leaves its game running",
        MISSION,
        "            super().close()",
        "            pass",
        TESTS,
    ),
    Mutant(
        "minecraft: a game that did not start leaves its folder",
        MISSION,
        "                instance.close()",
        "                pass",
        TESTS,
    ),
    Mutant(
        "minerl: sources with the line ends of Windows are not changed",
        INSTALL,
        '.replace("\\r\\n", "\\n")',
        "",
        INSTALL_TESTS,
    ),
    Mutant(
        "minerl: the script that starts the game cannot be run",
        INSTALL,
        "found.read()), member.mode)",
        "found.read()), 0o644)",
        INSTALL_TESTS,
    ),
    Mutant(
        "minerl: whatever has the name of the sources is taken for them",
        INSTALL,
        "if hashlib.sha256(sdist.read_bytes()).hexdigest() != _SHA256:",
        "if not sdist.name:",
        INSTALL_TESTS,
    ),
]
