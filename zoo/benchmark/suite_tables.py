"""Suites and their tasks as markdown tables."""

from collections.abc import Iterable

from dreamzoo.benchmark.suites import Task, suite, suite_names

_PROTOCOL = ("tasks", "frames", "action repeat", "environments", "train ratio", "size", "reports")


def suites_table() -> str:
    """
    Write all suites with their protocols.

    Example:
        >>> from dreamzoo.benchmark.suite_tables import suites_table
        >>> print(suites_table().splitlines()[4])
        | `atari100k` | 26 | 400,000 | 4 | 1 | 128 | 200m | gamer mean |
    """
    lines = [_line(("suite", *_PROTOCOL)), "|---" * (len(_PROTOCOL) + 1) + "|"]
    for name in suite_names():
        tasks = suite(name).tasks
        one = tasks[0]
        frames = "" if one.frames is None else f"{one.frames:,}"
        ratio = "" if one.train_ratio is None else f"{one.train_ratio:g}"
        n_envs = "" if one.n_envs is None else str(one.n_envs)
        protocol = (frames, str(one.action_repeat), n_envs, ratio, one.size or "", one.metric)
        lines.append(_line((f"`{name}`", str(len(tasks)), *protocol)))
    return "\n".join(lines)


def tasks_table(name: str) -> str:
    """
    Write the tasks of a suite with the returns that others are measured against.

    Example:
        >>> from dreamzoo.benchmark.suite_tables import tasks_table
        >>> print(tasks_table("crafter"))
        | environment | random | random_unlocked | human_unlocked | dreamer_v3 |
        |---|---|---|---|---|
        | `crafter` | 1.33 | 2.1 | 14.3 | 11.7 |

    :param name: of the suite
    :raises ValueError: if there is no such suite
    """
    tasks = suite(name).tasks
    who = [key for key in _who(tasks) if any(key in task.returns for task in tasks)]
    lines = [_line(("environment", *who)), "|---" * (len(who) + 1) + "|"]
    for task in tasks:
        numbers = (_number(task.returns.get(key)) for key in who)
        env = f"`{task.env}`" + (f" to `{task.settings - 1}`" if task.settings > 1 else "")
        lines.append(_line((env, *numbers)))
    return "\n".join(lines)


def _who(tasks: Iterable[Task]) -> list[str]:
    """List who has returns, each once, Atari's record behind the human."""
    found = dict.fromkeys(key for task in tasks for key in task.returns)
    return sorted(found, key=lambda key: (key.startswith("dreamer"), list(found).index(key)))


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:,}".removesuffix(".0")


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"
