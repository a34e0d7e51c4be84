"""Mistakes at the border: actions, observations, flags, settings, files."""

from tests.mutants.mutant import Mutant

ACTIONS, OBS, CHECKS = "zoo/nn/actions.py", "zoo/nn/observations.py", "zoo/nn/checks.py"
POLICIES, SETTINGS = "zoo/common/policies/recurrent.py", "zoo/nn/settings.py"
MEMORY = "zoo/common/policies/memory_layout.py"
MODEL, LAST_GOOD, FILES = (
    "zoo/nn/world_model.py",
    "zoo/common/last_good.py",
    "zoo/common/storage/files.py",
)
DREAM, STARTS = "envs/dreams/vector_env.py", "envs/dreams/starts.py"
OF_ACTIONS = ("tests/nn/test_actions.py", "tests/sb3/test_spaces.py")
OF_OBS = (
    "tests/nn/test_observations.py",
    "tests/nn/test_checks.py",
    "tests/sb3/test_borders.py",
    "tests/sb3/test_spaces.py",
)
OF_PREDICT = ("tests/sb3/test_contract.py", "tests/sb3/test_borders.py", "tests/sb3")
OF_SETTINGS = ("tests/sb3/test_settings.py", "tests/common/test_settings.py")
OF_FILES = ("tests/common/storage/test_files.py",)
OF_DREAMS = ("tests/envs/dreams",)

MUTANTS = [
    Mutant(
        "observations: images of bytes that are read as vectors stay as large as they are",
        OBS,
        "return x / 255.0 if self._holds_bytes(key) else x",
        "return x",
        OF_OBS,
    ),
    Mutant(
        "observations: normalized images are divided, too",
        OBS,
        'is_raw = key.kind == "vector" and key.name not in self.normalized',
        'is_raw = key.kind == "vector"',
        OF_OBS,
    ),
    Mutant(
        "settings: a class is not asked for",
        SETTINGS,
        "if isinstance(value, type) and issubclass(value, self.base):",
        "if True:",
        OF_SETTINGS,
    ),
    Mutant(
        "actions: both bounds are swapped",
        ACTIONS,
        "value = xp.where(unit < 0, bounds.low + distance, bounds.high - distance)",
        "value = xp.where(unit < 0, bounds.high - distance, bounds.low + distance)",
        OF_ACTIONS,
    ),
    Mutant(
        "actions: integers are cut off instead of rounded",
        ACTIONS,
        'distance = _cast(xp.round(distance), "int64")',
        'distance = _cast(distance, "int64")',
        OF_ACTIONS,
    ),
    Mutant(
        "actions: replay form is not clipped",
        ACTIONS,
        'unit = _cast(action, "float64").clip(-1.0, 1.0)',
        'unit = _cast(action, "float64")',
        OF_ACTIONS,
    ),
    Mutant(
        "actions: the start of a discrete space is forgotten",
        ACTIONS,
        "return index - start",
        "return index",
        OF_ACTIONS,
    ),
    Mutant(
        "actions: one beyond the last is let in",
        ACTIONS,
        "self._check(flat, (index >= start) & (index < end), name)",
        "self._check(flat, (index >= start) & (index <= end), name)",
        (*OF_ACTIONS, *OF_DREAMS),
    ),
    Mutant(
        "actions: NaN is let in",
        ACTIONS,
        "        if _is_float(action) and _on_host(action):\n",
        "        if False:\n",
        (*OF_ACTIONS, *OF_DREAMS),
    ),
    Mutant(
        "observations: MultiDiscrete spaces begin at zero",
        OBS,
        "index = x.reshape(*batch, -1).long() - _column(key.space.start, x)",
        "index = x.reshape(*batch, -1).long()",
        OF_OBS,
    ),
    Mutant(
        "observations: members of no MultiDiscrete space are let in",
        CHECKS,
        "return Rule(first, first + np.asarray(space.nvec, np.int64) - 1, words)",
        "return Rule(first - 99, first + np.asarray(space.nvec, np.int64) + 99, words)",
        OF_OBS,
    ),
    Mutant(
        "observations: checked before they are rounded to what is stored",
        CHECKS,
        "            x = cast(x, self.rounded)\n            if",
        "            if",
        OF_OBS,
    ),
    Mutant(
        "predict: flags of another length are let in",
        POLICIES,
        'is_first = to_flags(episode_start, n, "episode_start")',
        "is_first = np.asarray(episode_start, bool).reshape(-1)",
        OF_PREDICT,
    ),
    Mutant(
        "predict: NaN in the memory is let in",
        MEMORY,
        "            _check_numbers(x, i)\n",
        "            pass\n",
        OF_PREDICT,
    ),
    Mutant(
        "settings: infinite numbers are let in",
        SETTINGS,
        "finite = math.isfinite(number) or (self.infinite and number == math.inf)",
        "finite = True",
        OF_SETTINGS,
    ),
    Mutant(
        "settings: truth values are numbers",
        SETTINGS,
        "if isinstance(value, self._kind()) and not isinstance(value, bool):",
        "if isinstance(value, self._kind()):",
        OF_SETTINGS,
    ),
    Mutant(
        "gamma: what is learned follows at once",
        MODEL,
        "learned.copy_(reached.clamp(low, high))",
        "learned.fill_(gamma)",
        ("tests/nn/test_world_model.py", "tests/dreamer_v3/test_gamma.py"),
    ),
    Mutant(
        "gamma: terminal steps count",
        MODEL,
        "of_all(th.where(is_terminal, th.nan, discount).flatten())",
        "of_all(discount.flatten())",
        ("tests/nn/test_world_model.py", "tests/dreamer_v3/test_gamma.py"),
    ),
    Mutant(
        "saving: a destroyed model takes the place of a good one",
        LAST_GOOD,
        "    if bad := destroyed(model):\n        raise FloatingPointError(",
        "    if False and (bad := destroyed(model)):\n        raise FloatingPointError(",
        ("tests/sb3/test_faults.py", "tests/sb3/test_callbacks.py"),
    ),
    Mutant(
        "saving: the older file is overwritten before the new one is complete",
        FILES,
        """        new, file = _new_part(target)
        try:
            with file:""",
        """        new, file = target, target.open("wb")
        try:
            with file:""",
        ("tests/common", "tests/sb3"),
    ),
    Mutant(
        "saving: a list of saves removes whatever folder it names",
        "zoo/common/storage/saves.py",
        "            if _NAME.fullmatch(old):\n                shutil",
        "            if old:\n                shutil",
        ("tests/common/storage/test_saves.py",),
    ),
    Mutant(
        "statistics: who trains on with other settings is not believed",
        "zoo/common/environments/normalizer.py",
        "return now if normalizer.training else vars(normalizer).get(_LEARNED, now)",
        "return vars(normalizer).get(_LEARNED, now)",
        ("tests/common/environments/test_normalizer.py",),
    ),
    Mutant(
        "saving: two that write one file write into each other",
        FILES,
        'new = target.with_name(f"{target.name}.{uuid.uuid4().hex[:8]}.new")\n'
        '        file = new.open("xb")',
        'new = target.with_name(f"{target.name}.00000000.new")\n        file = new.open("wb")',
        OF_FILES,
    ),
    Mutant(
        "saving: what others are writing is taken for cut off",
        FILES,
        "        except BlockingIOError:\n            return False",
        "        except BlockingIOError:\n            return True",
        OF_FILES,
    ),
    Mutant(
        "saving: a part that is whole is anyone's before it has taken its place",
        FILES,
        "                if fcntl is not None:\n                    new.replace",
        "            if fcntl is not None:\n                new.replace",
        OF_FILES,
    ),
    Mutant(
        "saving: parts stay for ever where there are no locks",
        FILES,
        "return quiet > STALE",
        "return False",
        OF_FILES,
    ),
]
