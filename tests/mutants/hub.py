"""Mistakes in what goes to the Hugging Face Hub, and in errors by horizon."""

from tests.mutants.mutant import Mutant

PACKAGE, TRANSFER, CARD = "zoo/hub/package.py", "zoo/hub/transfer.py", "zoo/hub/card.py"
ERRORS = "zoo/analysis/horizon_errors.py"
OF_HUB = ("tests/hub/test_hub.py",)
OF_ERRORS = ("tests/analysis/test_horizon_errors.py",)
REPORT, OF_REPORT = "zoo/analysis/model_report.py", ("tests/analysis/test_model_report.py",)

MUTANTS = [
    Mutant(
        "hub: a package changes the statistics of its environment",
        "zoo/common/environments/normalizer.py",
        "            vars(normalizer).update(values)\n",
        "",
        OF_HUB,
    ),
    Mutant(
        "hub: a model that is not there has a path",
        TRANSFER,
        "if not path.is_file():\n        files",
        "if False:\n        files",
        OF_HUB,
    ),
    Mutant(
        "hub: statistics are left behind",
        TRANSFER,
        "for name in (filename, beside)]",
        "for name in (filename,)]",
        OF_HUB,
    ),
    Mutant(
        "hub: a repository is made before the agent has been looked at",
        PACKAGE,
        "    check_spaces(model, env)\n",
        "    api.create_repo(repo_id, exist_ok=True)\n    check_spaces(model, env)\n",
        OF_HUB,
    ),
    Mutant(
        "hub: the card's environment is another one",
        CARD,
        'arguments = "".join(',
        'arguments = "" and "".join(',
        OF_HUB,
    ),
    Mutant(
        "hub: pickles are said to run no code",
        CARD,
        "    if not held:\n",
        "    if False:\n",
        OF_HUB,
    ),
    Mutant(
        "hub: statistics are those at the root",
        TRANSFER,
        "PurePosixPath(filename).with_name(NORMALIZER)",
        "PurePosixPath(NORMALIZER)",
        OF_HUB,
    ),
    Mutant(
        "hub: names of files are patterns",
        TRANSFER,
        "[glob.escape(name) for name",
        "[name for name",
        OF_HUB,
    ),
    Mutant(
        "hub: the code of a card tells no rewards",
        CARD,
        "    if card.hears:\n",
        "    if False:\n",
        OF_HUB,
    ),
    Mutant(
        "hub: a film is played without rewards",
        PACKAGE,
        "            if hears(model):\n",
        "            if False:\n",
        OF_HUB,
    ),
    Mutant(
        "sequences: they are played without rewards",
        "zoo/analysis/playing.py",
        "            tell(model, state, reward)\n",
        "",
        ("tests/analysis/test_evaluation.py",),
    ),
    Mutant(
        "agreement: a policy is told no rewards",
        "zoo/analysis/agreement.py",
        "        tell(policy, state, unit.learned(reward))\n",
        "",
        ("tests/analysis/test_agreement.py",),
    ),
    Mutant(
        "errors by horizon: ends of episodes are overlooked",
        ERRORS,
        "np.logical_and.accumulate(",
        "np.logical_or.accumulate(",
        OF_ERRORS,
    ),
    Mutant(
        "errors by horizon: what was seen is taken for what was predicted",
        ERRORS,
        "rows, step, last = running[:, i], shown.context + i, shown.context - 1",
        "rows, step, last = running[:, i], i, shown.context - 1",
        OF_ERRORS,
    ),
    Mutant(
        "errors by horizon: bytes overflow",
        ERRORS,
        ".astype(np.float64)",
        "",
        OF_ERRORS,
    ),
    Mutant(
        "errors by horizon: the first observation is the one that stays",
        ERRORS,
        "shown.context + i, shown.context - 1",
        "shown.context + i, 0",
        OF_ERRORS,
    ),
    Mutant(
        "report: episodes are counted whose beginning is overwritten",
        REPORT,
        "        for start, after in zip(first, [*first[1:], kept], strict=True):\n",
        "        for start, after in zip([0, *first[1:]], [*first[1:], kept], strict=True):\n",
        OF_REPORT,
    ),
    Mutant(
        "report: time limits are taken for ends",
        REPORT,
        'over = not part["timeouts"][last]',
        'over = bool(part["dones"][last])',
        OF_REPORT,
    ),
    Mutant(
        "report: the last observation of an episode counts as a step",
        REPORT,
        "last - start, over))",
        "after - start, over))",
        OF_REPORT,
    ),
]
