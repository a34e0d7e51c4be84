"""One of many runs: what is known of it, and whether it is tried again."""

import time
import uuid
from dataclasses import replace

from dreamzoo.benchmark.many.folders import Place, read_place
from dreamzoo.benchmark.many.standing import Pace, Standing, read_standing
from dreamzoo.benchmark.run_config import Run, command_line
from dreamzoo.common.storage.saves import newest
from dreamzoo.launch import Attempt, Outcome

#: Seconds that another try waits for the lock of one that was killed: a file server gives it free
#: when it has not heard of the dead machine for about a minute and a half.
PATIENCE = 180


class Job:
    """
    One of many runs.

    :param run: what to train
    :param number: among all of them, from 1
    """

    def __init__(self, run: Run, number: int) -> None:
        self.run, self.number = run, number
        self.place: Place | None = None
        self.since = 0.0
        self.standing, self.pace = Standing(), Pace()
        self.tries = 0  # since the last save
        self._token, self._save = "", ""

    def attempt(self) -> Attempt:
        """Describe a process that makes the run, or what is left of it."""
        self._token, self._save = uuid.uuid4().hex, self._newest()
        self.place, self.standing, self.pace = None, Standing(), Pace()
        patience = PATIENCE if self.tries else 0
        module = ("-m", "dreamzoo.benchmark.many.one_run", self._token, str(patience))
        out = self.run.out.absolute()  # where the process starts, it may mean another place
        words = (*module, *command_line(replace(self.run, out=out), resumable=True))
        return Attempt(out, words, self.run.threads, self.run.device)

    def look(self) -> bool:
        """Read where the run is and how far; return whether there is something to say of it."""
        before = (self.place, self.standing.evaluations)
        if self.place is None:
            self.place = self._found()
            self.since = time.monotonic()
        if self.place is not None:
            self.standing = read_standing(self.run.out, self.standing)
            self.pace.note(self.standing.steps, time.monotonic())
        return before != (self.place, self.standing.evaluations)

    def _found(self) -> Place | None:
        place = read_place(self.run.out)
        return place if place is not None and place.token == self._token else None

    def is_worth_another_try(self, outcome: Outcome, retries: int) -> bool:
        """
        Decide what follows from an attempt that has failed.

        One that has come to a new save is worth another. One that has not would fail by its own
        error in the same way again; where something else has killed it, there are a few.

        :param outcome: of the attempt
        :param retries: how many more tries without a new save
        """
        if self._newest() != self._save:
            self.tries = 1
            return retries > 0
        self.tries += 1
        return outcome.was_killed and self.tries <= retries

    def _newest(self) -> str:
        try:
            return newest(self.run.out).name
        except ValueError:  # the training says what is wrong with its saves
            return ""
