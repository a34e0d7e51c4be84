"""What a report of a GPU comes to: a table in Markdown, made of its lines."""

from collections.abc import Iterable, Sequence
from typing import Any

Line = dict[str, Any]

#: What is to be reached: which update, and in how many milliseconds.
GOALS = {("1m", "vector"): 9.0, ("12m", "image"): 15.0}


def write_report(lines: Iterable[Line]) -> str:
    """
    Write what was measured as Markdown.

    :param lines: of a report, of which any may be missing
    :return: paragraphs and tables; one that nothing was measured for is left out
    """
    lines = list(lines)
    parts = [_machine(lines), _updates(lines), _goals(lines), _tests(lines), _acting(lines)]
    parts += [_dreams(lines), _learning(lines), _endings(lines)]
    return "\n\n".join(part for part in parts if part) or "Nothing was measured."


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """
    Write a table in Markdown.

    :param head: titles of the columns; the first is set left, the others right
    :param rows: what stands below; None is a dash
    :return: nothing if there are no rows
    """
    written = ["| " + " | ".join("-" if x is None else str(x) for x in row) + " |" for row in rows]
    if not written:
        return ""
    rule = "|---|" + "---:|" * (len(head) - 1)
    return "\n".join(["| " + " | ".join(head) + " |", rule, *written])


def _machine(lines: list[Line]) -> str:
    texts = []
    for line in lines:
        if "card" in line:
            texts.append(
                f"{line['card']}, driver {line['driver']}, torch {line['torch']}, Triton "
                f"{line['triton']}, Python {line['python']}, commit {line['commit']}, "
                f"{line['date']}."
            )
        if "peak_tflops" in line:
            peaks = ", ".join(f"{name} {rate:g}" for name, rate in line["peak_tflops"].items())
            text = f"Measured floors: matrix products {peaks} TFLOP/s; copies "
            text += f"{line['copy_gb_per_second']:g} GB/s"
            if "launch_us" in line:
                text += (
                    f"; in a CUDA graph one of the smallest kernels every {line['launch_us']:g} "
                )
                text += f"us, {line['gap_us']:g} us of them between two"
            texts.append(text + ".")
    return " ".join(texts)


def _updates(lines: list[Line]) -> str:
    rows = []
    for line in lines:
        if "wall_seconds" not in line or "error" in line:
            continue
        floor = line.get("launch_floor_seconds")
        share = line.get("fraction_of_limit")
        rows.append(
            (
                f"{line['size']} {line['obs']}",
                line.get("peer", "dreamzoo"),
                _mode(line),
                line["precision"],
                f"{line['wall_seconds'] * 1e3:.2f}",
                line.get("launches"),
                None if floor is None else f"{floor * 1e3:.2f}",
                line.get("gflop"),
                None if share is None else f"{share:.1%}",
                line.get("peak_gpu_mb"),
                "yes" if "beside" in line else "",
            )
        )
    head = ["update", "of", "mode", "precision", "ms", "kernels", "ms of as many smallest kernels"]
    head += ["GFLOP", "of the limit", "peak MB", "others compiling beside"]
    return table(head, rows)


def _mode(line: Line) -> str:
    if "peer" in line:
        return "compiled" if line.get("compiled") else "eager"
    plain = line.get("device", "").startswith("cuda") and not line.get("triton_kernels", True)
    return ("graph" if line.get("graph") else "eager") + (", no Triton" if plain else "")


def _goals(lines: list[Line]) -> str:
    texts = []
    for (size, obs), goal in GOALS.items():
        times: dict[bool, float] = {}  # by whether it is the peer's
        known = [x for x in lines if (x.get("size"), x.get("obs")) == (size, obs)]
        best = "'s best" if any(x.get("compiled") for x in known) else " as it comes, not compiled"
        for line in known:
            if "wall_seconds" in line:
                is_peer, ms = "peer" in line, line["wall_seconds"] * 1e3
                times[is_peer] = min(ms, times.get(is_peer, ms))
        if False in times:
            word = "met" if times[False] <= goal else "missed"
            text = f"{size} {obs}: {times[False]:.2f} ms, goal {goal:g} ms {word}"
            if True in times:
                text += f", {times[True] / times[False]:.1f} times as fast as the peer{best}"
            texts.append(text)
    return "; ".join(texts) + "." if texts else ""


def _tests(lines: list[Line]) -> str:
    for line in lines:
        if "passed" in line:
            text = f"`gpu` tests: {line['passed']} passed, {line['failed']} failed"
            text += f", {line['skipped']} skipped"
            names = ", ".join(f"`{name}`" for name in line["failures"])
            return text + (f" ({names})" if names else "") + f": {line['ended']}."
    return ""


def _acting(lines: list[Line]) -> str:
    rows = [
        (f"{x['size']} {x['obs']}", x["n_envs"], _mode(x), x["precision"], x["milliseconds"])
        for x in lines
        if "milliseconds" in x
    ]
    return table(["acting", "environments", "mode", "precision", "ms"], rows)


def _dreams(lines: list[Line]) -> str:
    rows = [
        (f"{x['size']} {x['env']}", n, _mode(x), x["precision"], f"{rate:,}")
        for x in lines
        for n, rate in x.get("dream_steps_per_second", {}).items()
    ]
    return table(["dreams", "at once", "mode", "precision", "steps/s"], rows)


def _learning(lines: list[Line]) -> str:
    rows = [
        (
            f"{x['size']} {x['obs']}",
            x["n_envs"],
            _mode(x),
            x["precision"],
            x["updates_per_second"],
            x["env_steps_per_second"],
            None if "gpu_busy_share" not in x else f"{x['gpu_busy_share']:.0%}",
        )
        for x in lines
        if "updates_per_second" in x
    ]
    head = ["learn()", "environments", "mode", "precision", "updates/s", "steps/s"]
    return table([*head, "GPU computes"], rows)


def _endings(lines: list[Line]) -> str:
    bad = [
        f"{x['size']} {x['obs']} {_mode(x)} {x['precision']}: {x['error']}"
        for x in lines
        if "error" in x and "status" not in x
    ]
    bad += [f"{x['case']} ({x['status']})" for x in lines if x.get("status", "ok") != "ok"]
    return f"Not finished: {', '.join(bad)}." if bad else ""
