"""Many runs: which are tried again, how far they are, what is shown of them."""

import io
import os
import socket
import time
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

from dreamzoo.benchmark.many import one_run
from dreamzoo.benchmark.many.board import LiveBoard, row
from dreamzoo.benchmark.many.folders import Place, is_finished, read_place, write_place
from dreamzoo.benchmark.many.job import PATIENCE, Job
from dreamzoo.benchmark.many.standing import Pace, Standing, read_standing
from dreamzoo.benchmark.many_runs import train_all
from dreamzoo.benchmark.run_config import Run, command_line, note_run
from dreamzoo.benchmark.runs import train
from dreamzoo.common.storage.saves import newest
from dreamzoo.launch import BUSY, Attempt, Outcome

RUN = Run("ppo", "CartPole-v1", Path("run"), steps=1_000)
FINE, KILLED, OWN_ERROR = Outcome(0), Outcome(-9), Outcome(1)


class Scripted:
    """A backend whose attempts do as they are told."""

    def __init__(self, make: Callable[[Attempt, int], Outcome]) -> None:
        self.make = make
        self.attempts: list[Attempt] = []
        self.jobs: int | None = None

    @contextmanager
    def open(
        self, folders: Collection[Path], jobs: int | None
    ) -> Iterator[Callable[[Attempt], "Future[Outcome]"]]:
        assert all(folder.is_dir() for folder in folders)
        self.jobs = jobs

        def submit(attempt: Attempt) -> "Future[Outcome]":
            self.attempts.append(attempt)
            future: Future[Outcome] = Future()
            future.set_result(self.make(attempt, len(self.attempts)))
            return future

        yield submit


def patience(attempt: Attempt) -> int:
    return int(attempt.words[3])


def save(out: Path, steps: int) -> None:
    """Pretend that a run has saved."""
    folder = out / f"{steps:012d}_00000000"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.zip").touch()
    (out / "saves.json").write_text(f'["{folder.name}"]')


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return replace(RUN, out=tmp_path / "runs" / "one")


def test_a_killed_run_is_tried_again_and_waits_for_the_lock_of_the_dead(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    backend = Scripted(lambda _, count: KILLED if count < 4 else FINE)
    assert train_all([run], backend=backend, retries=3) == []
    assert [patience(attempt) for attempt in backend.attempts] == [0, *[PATIENCE] * 3]
    out = capsys.readouterr().out
    assert out.count("one: killed by signal 9; it is tried again") == 3
    assert out.endswith("one: finished\n")


def test_a_run_that_is_killed_where_it_begins_is_given_up(run: Run) -> None:
    backend = Scripted(lambda *_: KILLED)
    assert train_all([run], backend=backend, retries=2) == [run]
    assert len(backend.attempts) == 3


def test_a_run_that_comes_further_is_tried_again_as_often_as_it_does(run: Run) -> None:
    def make(attempt: Attempt, count: int) -> Outcome:
        if count % 3 == 1 and count < 20:
            save(attempt.out, count)
        return FINE if count == 22 else KILLED

    backend = Scripted(make)
    assert train_all([run], backend=backend, retries=3) == []
    assert len(backend.attempts) == 22


def test_an_error_of_its_own_is_not_repeated_and_stops_no_other(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    other = replace(run, out=run.out.with_name("other"))
    backend = Scripted(lambda attempt, _: OWN_ERROR if attempt.out == run.out else FINE)
    ended: list[bool] = []
    assert train_all([run, other], backend=backend, after_each=lambda: ended.append(True)) == [run]
    assert [attempt.out for attempt in backend.attempts] == [run.out, other.out]
    assert len(ended) == 2
    assert f"[1/2] one: failed, see {run.out}.log" in capsys.readouterr().out


def test_an_error_after_a_new_save_is_looked_at_twice(run: Run) -> None:
    def make(attempt: Attempt, count: int) -> Outcome:
        if count == 1:
            save(attempt.out, 5)
        return OWN_ERROR

    backend = Scripted(make)
    assert train_all([run], backend=backend) == [run]
    assert len(backend.attempts) == 2


def test_reasons_of_a_backend_are_said(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    backend = Scripted(lambda *_: Outcome(1, "node 7 is on fire"))
    assert train_all([run], backend=backend) == [run]
    assert "one: failed: node 7 is on fire, see" in capsys.readouterr().out


def test_whoever_is_at_a_run_is_named(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    run.out.parent.mkdir()
    write_place(run.out, Place("theirs", "node7", 1234, "", False))
    assert train_all([run], backend=Scripted(lambda *_: Outcome(BUSY))) == []
    assert "one: another process is at it on node7, with id 1234" in capsys.readouterr().out


def test_what_shall_begin_anew_is_removed_once_and_not_while_another_is_at_it(run: Run) -> None:
    def make(attempt: Attempt, count: int) -> Outcome:
        seen.append((attempt.out / "saves.json").exists())
        save(attempt.out, count)
        return KILLED if count == 1 else FINE

    seen: list[bool] = []
    save(run.out, 900)
    note_run(replace(run, agent_kwargs=[("batch_size", 16)]))
    backend = Scripted(make)
    with FileLock(f"{run.out}.lock"):
        assert train_all([run], anew=[run.out], backend=backend) == []
    assert seen == []
    assert newest(run.out).name.startswith("000000000900")
    assert train_all([run], anew=[run.out], backend=backend) == []
    assert seen == [False, True]


def test_only_so_many_are_given_to_a_backend(run: Run) -> None:
    backend = Scripted(lambda *_: FINE)
    train_all([run], backend=backend)
    assert backend.jobs is None
    train_all([run], 5, backend=backend)
    assert backend.jobs == 5


def test_a_run_without_its_last_save_is_not_finished(tmp_path: Path) -> None:
    tiny = dict(policy_kwargs=[("net_arch", [4])], steps=32, eval_every=16, eval_episodes=1)
    settings = [("n_steps", 16), ("batch_size", 16)]
    run = Run("ppo", "CartPole-v1", tmp_path / "run", agent_kwargs=settings, **tiny)  # type: ignore[arg-type]
    train(run)
    assert is_finished(run)
    newest(run.out).rename(run.out / "000000000016_00000000")
    (run.out / "saves.json").write_text('["000000000016_00000000"]')
    assert not is_finished(run)


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What the process of a run would train, with which words."""
    found: list[list[str]] = []
    monkeypatch.setattr(one_run, "train", found.append)
    monkeypatch.setattr(one_run, "end_with_watcher", lambda: None)
    return found


def call(run: Run) -> list[str]:
    """Be the process of a run, up to the training."""
    run.out.parent.mkdir(exist_ok=True)
    words = command_line(run)
    one_run.main(["token", "0", *words])
    return words


def test_a_process_goes_on_from_a_save_and_says_where_it_is(
    run: Run, trained: list[list[str]]
) -> None:
    words = call(run)
    place = read_place(run.out)
    assert place == Place("token", socket.gethostname(), os.getpid(), "", False)
    save(run.out, 500)
    call(run)
    assert trained == [[*words, "--overwrite"], [*words, "--resume"]]
    assert read_place(run.out) == place._replace(goes_on=True)


def test_a_process_does_not_begin_where_another_one_is_or_was(
    run: Run, trained: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    run.out.parent.mkdir()
    with FileLock(f"{run.out}.lock"), pytest.raises(SystemExit) as ended:
        call(run)
    assert ended.value.code == BUSY
    assert read_place(run.out) is None
    monkeypatch.setattr(one_run, "is_finished", lambda _: True)
    call(run)
    assert trained == []


def test_how_far_a_run_is_is_read_while_it_writes(tmp_path: Path) -> None:
    assert read_standing(tmp_path / "nothing", Standing()) == Standing()
    log = tmp_path / "progress.csv"
    log.write_text("time/fps,time/total_timesteps\n9,100\n9,250\n9,9")
    assert read_standing(tmp_path, Standing()) == Standing(250, 0, None)
    table = tmp_path / "evaluations.npz"
    np.savez(table, timesteps=[200, 400], results=[[1.0, 1.0], [2.0, 4.0]])
    standing = read_standing(tmp_path, Standing())
    assert standing == Standing(400, 2, 3.0)
    table.write_bytes(table.read_bytes()[:100])
    log.write_text("time/fps,time/total_ti")
    assert read_standing(tmp_path, standing) == standing
    later = tmp_path / "progress_400.csv"
    later.write_text('"a, b",time/total_timesteps\n' + '"1, 2",480\n' * 10_000)
    os.utime(later, (time.time() + 9, time.time() + 9))
    assert read_standing(tmp_path, standing).steps == 480


def test_what_is_left_is_known_after_two_looks_and_forgotten_with_lost_steps() -> None:
    pace = Pace()
    for steps, now in ((1_000, 0.0), (1_000, 50.0), (2_000, 60.0)):
        pace.note(steps, now)
        assert pace.seconds_left(10_000, now) is None
    pace.note(4_000, 80.0)
    assert pace.seconds_left(10_000, 80.0) == 60
    assert pace.seconds_left(10_000, 90.0) == 50
    assert pace.seconds_left(10_000, 900.0) == 0
    pace.note(1_500, 100.0)
    assert pace.seconds_left(10_000, 100.0) is None


def begun(run: Run) -> Job:
    """A run that a process is at, as its watcher sees it."""
    job = Job(run, 3)
    token = job.attempt().words[2]
    run.out.mkdir(parents=True)
    write_place(run.out, Place(token, "node7", 1234, "1", True))
    np.savez(run.out / "evaluations.npz", timesteps=[400], results=[[21.5]])
    return job


def test_a_process_of_an_earlier_attempt_is_not_taken_for_this_one(run: Run) -> None:
    job = begun(run)
    job.attempt()
    assert not job.look()
    assert job.place is None


def test_a_table_says_what_runs_where_and_how_far(run: Run) -> None:
    console = pytest.importorskip("rich.console")
    job = begun(run)
    assert job.look()
    job.pace.note(600, time.monotonic())
    job.since -= 3_725
    shown = row(job, time.monotonic())[:-1]
    assert shown == ("one", "node7, GPU 1", "1:02:05", "400", "1,000", "21.5")
    text = io.StringIO()
    board = LiveBoard(9, console.Console(file=text, width=100, force_terminal=True))
    with board:
        board.show([job, Job(replace(run, out=Path("later")), 4)], waiting=5)
        board.say(job, "killed by signal 9; it is tried again")
    for words in ("1 running, 6 waiting, 9 in all", "node7, GPU 1", "1:02:05", "21.5", "signal 9"):
        assert words in text.getvalue()
    assert "later" not in text.getvalue()


def test_without_a_terminal_lines_say_what_has_changed(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    def make(attempt: Attempt, _: int) -> Outcome:
        attempt.out.mkdir(parents=True)
        write_place(attempt.out, Place(attempt.words[2], "node7", 1234, "1", True))
        np.savez(attempt.out / "evaluations.npz", timesteps=[400], results=[[21.5]])
        return FINE

    train_all([run], backend=Scripted(make))
    assert capsys.readouterr().out == ("[1/1] one: goes on (node7, GPU 1)\n[1/1] one: finished\n")
