"""Signs of life of ranks, in one process."""

import time
from collections.abc import Callable, Iterator

import pytest
import torch.distributed as dist

from dreamzoo.nn.fast import rank_watch
from dreamzoo.nn.fast.rank_watch import RankError, RankWatch

#: Seconds.
BEAT, SILENCE = 0.02, 0.3


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> dist.Store:
    monkeypatch.setattr(rank_watch, "BEAT", BEAT)
    monkeypatch.setattr(rank_watch, "SILENCE", SILENCE)
    monkeypatch.setattr(rank_watch, "SILENCE_AFTER_LOSS", SILENCE)
    monkeypatch.setattr(rank_watch, "NOTICE", 60.0)  # nobody is interrupted here
    return dist.HashStore()


@pytest.fixture
def first(store: dist.Store) -> Iterator[RankWatch]:
    watch = RankWatch(store, 0, 2)
    yield watch
    watch.end(None)


def comes(is_so: Callable[[], bool]) -> bool:
    """Wait for something, longer than it takes."""
    end = time.monotonic() + 20.0
    while not is_so() and time.monotonic() < end:
        time.sleep(BEAT)
    return is_so()


def beats(store: dist.Store) -> int:
    return int(store.get("beat/0")) if store.check(["beat/0"]) else 0


def test_a_rank_that_has_not_begun_is_waited_for(first: RankWatch, store: dist.Store) -> None:
    time.sleep(3 * SILENCE)
    before = beats(store)
    assert comes(lambda: beats(store) > before)  # it goes on to say that it lives, too
    assert first.failure is None
    store.set("name/1", "the second")
    assert comes(lambda: first.failure is not None)  # it does not beat
    with pytest.raises(RankError, match="the second has given no sign of life"):
        first.check()


def test_a_rank_that_ended_before_it_began_is_named(
    first: RankWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rank_watch, "SILENCE", 60.0)
    with pytest.raises(RankError, match="since rank 1 of 2 has given no sign of life"):
        first.lost(RuntimeError("Connection closed by peer"))
