"""Runs of a comparison made in this process: a process of its own needs seconds to begin."""

from contextlib import redirect_stderr, redirect_stdout
from threading import Lock
from typing import TextIO

import pytest

from dreamzoo.benchmark.many import one_run
from dreamzoo.launch import Attempt, local

#: What runs print, and torch's random numbers, are those of the whole process.
ONE_AT_A_TIME = Lock()


def train_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Make the attempts of this machine here, one at a time, with their own log and code.

    :param monkeypatch: takes it back
    """
    # Here there is nobody whose end it could wait for.
    monkeypatch.setattr(one_run, "end_with_watcher", lambda: None)
    monkeypatch.setattr(local, "watch", _make)


def _make(attempt: Attempt, *_: object, **__: object) -> int:
    """Do as the interpreter would with the words of an attempt."""
    flag, module, *words = attempt.words
    assert [flag, module] == ["-m", one_run.__name__]
    with (
        ONE_AT_A_TIME,
        open(f"{attempt.out}.log", "a", encoding="utf-8") as log,
        redirect_stdout(log),
        redirect_stderr(log),
    ):
        try:
            one_run.main(words)
        except SystemExit as end:
            return _code(end.code, log)
    return 0


def _code(said: str | int | None, log: TextIO) -> int:
    """Turn what a process exits with into its code; words are printed."""
    if isinstance(said, str):
        print(said, file=log)
        return 1
    return said or 0
