"""What a larger training needs, as markdown tables."""

from collections.abc import Sequence

from dreamzoo.benchmark.results.table import markdown
from dreamzoo.benchmark.scaling import (
    BATCH,
    LINKS,
    UpdateCost,
    busy_environments,
    exchange,
    learned_steps,
    record_bytes,
    window_cost,
)

RECORDS = {"1 million": 1e6, "5 million": 5e6, "100 million": 1e8}
TRAIN_RATIOS = (32, 64, 128, 256, 512, 1024)
#: Milliseconds of a step.
STEPS = (1, 10, 50)


def exchange_table(costs: Sequence[UpdateCost], per_gflop: float, ranks: int) -> str:
    """
    Show what adding up gradients takes of an update.

    :param costs: rows
    :param per_gflop: milliseconds of an update for each GFLOP
    :param ranks: N

    Example:
        >>> from dreamzoo.benchmark.scaling import UpdateCost
        >>> from dreamzoo.benchmark.scaling_tables import exchange_table
        >>> print(exchange_table([UpdateCost("12m", 10_494_158, 1007.0)], 0.0186, ranks=2))
        | size | GFLOP | ms an update | gradients, MB | each of 2 ranks sends, MB | NVLink, ms | \
split | each | 100 Gb Ethernet, ms | split | each |
        |---|---|---|---|---|---|---|---|---|---|---|
        | 12m | 1,007 | 19 | 42 | 42 | 0.09 | 2.0 | 1.00 | 3.36 | 1.5 | 0.85 |
    """
    heads = ["size", "GFLOP", "ms an update", "gradients, MB", f"each of {ranks} ranks sends, MB"]
    for link in LINKS:
        heads += [f"{link}, ms", "split", "each"]
    rows = []
    for cost in costs:
        update = cost.gflop * per_gflop
        parts = [exchange(cost.parameters, update, ranks, rate) for rate in LINKS.values()]
        row = [
            cost.size,
            f"{cost.gflop:,.0f}",
            f"{update:,.0f}",
            f"{cost.parameters * 4 / 1e6:,.0f}",
        ]
        row.append(f"{parts[0].megabytes:,.0f}")
        for part in parts:
            digits = 0 if part.milliseconds >= 10 else 2
            row += [f"{part.milliseconds:.{digits}f}", f"{part.split:.1f}", f"{part.each:.2f}"]
        rows.append(row)
    return markdown(heads, rows)


def replay_table(sizes: Sequence[str]) -> str:
    """
    Show what the replay of Atari takes.

    :param sizes: of models whose latents are stored

    Example:
        >>> from dreamzoo.benchmark.scaling_tables import replay_table
        >>> print(replay_table(["12m"]))
        | latents | kB a record | 1 million | 5 million | 100 million |
        |---|---|---|---|---|
        | none | 12.3 | 12 GB | 62 GB | 1,230 GB |
        | 12m | 20.5 | 21 GB | 103 GB | 2,053 GB |
    """
    rows = []
    for size in (None, *sizes):
        each = record_bytes(size)
        room = [f"{each * records / 1e9:,.0f} GB" for records in RECORDS.values()]
        rows.append([size or "none", f"{each / 1e3:.1f}", *room])
    return markdown(["latents", "kB a record", *RECORDS], rows)


def reading_table(costs: Sequence[UpdateCost], per_gflop: float) -> str:
    """
    Show what updates read of the replay, and write back into it.

    :param costs: rows
    :param per_gflop: milliseconds of an update for each GFLOP

    Example:
        >>> from dreamzoo.benchmark.scaling import UpdateCost
        >>> from dreamzoo.benchmark.scaling_tables import reading_table
        >>> print(reading_table([UpdateCost("12m", 10_494_158, 1007.0)], 0.0186))
        | size | updates a second | windows | MB a window | read, GB/s | latents written, GB/s |
        |---|---|---|---|---|---|
        | 12m | 53.4 | 854 | 0.79 | 0.68 | 0.45 |
    """
    heads = ["size", "updates a second", "windows", "MB a window", "read, GB/s"]
    rows = []
    for cost in costs:
        updates, window = 1e3 / (cost.gflop * per_gflop), window_cost(cost.size)
        row = [cost.size, f"{updates:.1f}", f"{updates * BATCH:,.0f}", f"{window.read / 1e6:.2f}"]
        rows.append([*row, *(f"{updates * BATCH * part / 1e9:.2f}" for part in window)])
    return markdown([*heads, "latents written, GB/s"], rows)


def feeding_table(size: str, update: float, acting: tuple[float, float]) -> str:
    """
    Show how many environments keep a GPU busy.

    :param size: of the model
    :param update: milliseconds of an update
    :param acting: milliseconds of acting with 1 and with 16 environments

    Example:
        >>> from dreamzoo.benchmark.scaling_tables import feeding_table
        >>> print(feeding_table("12m", 20.0, (0.5, 0.5)))
        | 12m: train ratio | steps a second | cores, 1 ms | 10 ms | 50 ms | in turns, 1 ms | \
10 ms | 50 ms |
        |---|---|---|---|---|---|---|---|
        | 32 | 1,600 | 1.6 | 16 | 80 | 22 | 152 | 728 |
        | 64 | 800 | 0.8 | 8 | 40 | 11 | 76 | 364 |
        | 128 | 400 | 0.4 | 4 | 20 | 6 | 38 | 182 |
        | 256 | 200 | 0.2 | 2 | 10 | 3 | 19 | 91 |
        | 512 | 100 | 0.1 | 1 | 5 | 2 | 10 | 46 |
        | 1024 | 50 | 0.05 | 0.5 | 2.5 | 1 | 5 | 23 |
    """

    def heads(first: str) -> list[str]:
        return [f"{first}, {STEPS[0]} ms", *(f"{step} ms" for step in STEPS[1:])]

    rows = []
    for ratio in TRAIN_RATIOS:
        rate = learned_steps(update, ratio)
        cores = [f"{rate * step / 1e3:.3g}" for step in STEPS]
        turns = [busy_environments(update, acting, step, ratio) for step in STEPS]
        rows.append(
            [str(ratio), f"{rate:,.0f}", *cores, *(f"{n:,}" if n else "none" for n in turns)]
        )
    return markdown(
        [f"{size}: train ratio", "steps a second", *heads("cores"), *heads("in turns")], rows
    )
