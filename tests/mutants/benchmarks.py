"""Mistakes in benchmarks: their runs, what is collected of them, tables, pictures, the page."""

from tests.mutants.mutant import Mutant

EVALUATIONS, TABLE, PLOT, AGGREGATES, PUBLISHED, REPORT = (
    f"zoo/benchmark/results/{name}.py"
    for name in ("evaluations", "table", "plot", "aggregates", "published", "report")
)
OF_SUITE, CONFIG = "zoo/benchmark/comparisons/of_suite.py", "zoo/benchmark/run_config.py"
LAPTOP, RUN = "zoo/hyperparams/laptop.py", "zoo/cli/benchmark/run.py"
OF_RESULTS, COLLECTING = ("tests/benchmark/results",), ("tests/cli/test_benchmark.py",)
OF_RUNS = ("tests/benchmark/test_comparisons.py",)
SUITE_TESTS = ("tests/benchmark/test_of_suite.py",)

SCALING, SCALING_TESTS = "zoo/benchmark/scaling.py", ("tests/benchmark/test_scaling.py",)

MUTANTS = [
    Mutant(
        "comparisons: what is known of runs that are not here goes",
        "zoo/benchmark/many_runs.py",
        " and (r.out / CONFIG).exists()]",
        "]",
        ("tests/benchmark/test_change_and_damage.py",),
    ),
    Mutant(
        "comparisons: world models are evaluated otherwise than the agents beside them",
        "zoo/benchmark/comparisons/discrete.py",
        'EVALUATION | {"steps"',
        '{"eval_episodes": 20} | {"steps"',
        OF_RUNS,
    ),
    Mutant(
        "results: an unfinished seed counts where it has not come",
        EVALUATIONS,
        "if frames - last < min(LATE, max(frames // 10, 1)):",
        "if True:",
        OF_RESULTS,
    ),
    Mutant(
        "results: evaluations that are being written are damaged",
        EVALUATIONS,
        "        if tries > 1:\n",
        "        if tries > 5:\n",
        COLLECTING,
    ),
    Mutant(
        "results: other runs are forgotten when some are collected",
        EVALUATIONS,
        "writer.writerows(sorted([*kept, *new]))",
        "writer.writerows(sorted(new))",
        COLLECTING,
    ),
    Mutant(
        "results: the mean goes on without a seed",
        PLOT,
        "set.intersection(*map(set, seeds.values()))",
        "set.union(*map(set, seeds.values())) & set(next(iter(seeds.values())))",
        OF_RESULTS,
    ),
    Mutant(
        "results: a window's mean stands at its end",
        PLOT,
        "(r.frames - r.window / 2, r.mean)",
        "(r.frames, r.mean)",
        OF_RESULTS,
    ),
    Mutant(
        "aggregates: quarters are cut off at one end",
        AGGREGATES,
        "return float(flat[cut : flat.size - cut].mean())",
        "return float(flat[cut:].mean())",
        OF_RESULTS,
    ),
    Mutant(
        "aggregates: tasks are drawn with their runs",
        AGGREGATES,
        "size=(samples, seeds, tasks))",
        "size=(samples, seeds, 1))",
        OF_RESULTS,
    ),
    Mutant(
        "aggregates: two seeds are enough",
        AGGREGATES,
        "        if seeds < ENOUGH:\n",
        "        if seeds < 2:\n",
        OF_RESULTS,
    ),
    Mutant(
        "aggregates: tasks without a scale are left out in silence",
        AGGREGATES,
        "if len(scales) < max(ENOUGH, len(frames)):",
        "if len(scales) < ENOUGH:",
        OF_RESULTS,
    ),
    Mutant(
        "published: a curve stands beside tasks of another suite",
        PUBLISHED,
        '"dmc_pixels": "dmc_vision", "atari"',
        '"dmc_pixels": "dmc_proprio", "atari"',
        ("tests/benchmark/test_suites.py",),
    ),
    Mutant(
        "report: texts are taken for HTML",
        "zoo/analysis/html_page.py",
        'f"<h1>{escape(title)}</h1>',
        'f"<h1>{title}</h1>',
        OF_RESULTS,
    ),
    Mutant(
        "suites: steps are frames",
        OF_SUITE,
        "steps = max(target.frames // repeat, 1)",
        "steps = target.frames",
        SUITE_TESTS,
    ),
    Mutant(
        "suites: baselines are evaluated by sampled actions",
        OF_SUITE,
        "deterministic_eval=agent not in SAMPLED,",
        "deterministic_eval=False,",
        SUITE_TESTS,
    ),
    Mutant(
        "suites: replays of images are saved at their full size",
        OF_SUITE,
        'settings.setdefault("buffer_size", min(target.frames, 1_000_000))',
        "pass",
        SUITE_TESTS,
    ),
    Mutant(
        "laptop: discrete actions have the settings of continuous ones",
        LAPTOP,
        "_DISCRETE.get(agent, found) if discrete else found",
        "found",
        SUITE_TESTS,
    ),
    Mutant(
        "benchmark: a setting that was taken away is no change",
        CONFIG,
        "            if key not in dict(getattr(run, name)):\n",
        "            if False:\n",
        OF_RUNS,
    ),
    Mutant(
        "benchmark: runs with other settings are collected with the rest",
        RUN,
        "            skipped.append(run)\n",
        "            skipped.append(run)\n            kept.append(run)\n",
        OF_RUNS,
    ),
    Mutant(
        "scaling: a ring sends everything once",
        SCALING,
        "megabytes = 2 * (ranks - 1)",
        "megabytes = (ranks - 1)",
        SCALING_TESTS,
    ),
    Mutant(
        "scaling: a small batch is taken for a whole one",
        SCALING,
        "count_gflop(model) * BATCH * LENGTH / (batch * length)",
        "count_gflop(model)",
        SCALING_TESTS,
    ),
    Mutant(
        "scaling: acting takes as long with any number of environments",
        SCALING,
        "gain = learning - factor * slope",
        "gain = learning",
        SCALING_TESTS,
    ),
    Mutant(
        "scaling: a window reads the latents of all of its steps",
        SCALING,
        "WindowCost(LENGTH * math.prod(IMAGE.shape) + latent,",
        "WindowCost(LENGTH * (math.prod(IMAGE.shape) + latent),",
        SCALING_TESTS,
    ),
    Mutant(
        "scaling: latents take no room",
        SCALING,
        "batch_length=LENGTH, latents=latents",
        "batch_length=LENGTH",
        SCALING_TESTS,
    ),
    Mutant(
        "results: runs that scored NaN count as the best",
        AGGREGATES,
        "    if np.isnan(scores).any():  # sorted, it would count as the best\n",
        "    if False:\n",
        ("tests/benchmark/test_change_and_damage.py",),
    ),
    Mutant(
        "results: half a line of a log is read",
        "zoo/benchmark/results/logs.py",
        'text[: text.rfind("\\n") + 1]',
        "text",
        ("tests/benchmark/test_change_and_damage.py",),
    ),
    Mutant(
        "results: a damaged file is told when runs are finished",
        RUN,
        "read_rows(results)  # a damaged",
        "pass  # a damaged",
        ("tests/benchmark/test_change_and_damage.py",),
    ),
]
