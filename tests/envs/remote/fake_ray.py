"""Ray without processes: what RemoteVecEnv asks of it, done at once, in this one."""

import pickle
import traceback
from collections import defaultdict
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import ray


class Death(BaseException):
    """
    Ends the worker that raises it, as SIGKILL would.

    :param error: what Ray then says
    """

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error or ray.exceptions.ActorDiedError()


class Parcel:
    """What travels: pickled, and read-only where it arrives, as arrays in shared memory are."""

    def __init__(self, value: Any) -> None:
        parts: list[pickle.PickleBuffer] = []
        self.data = ray.cloudpickle.dumps(value, protocol=5, buffer_callback=parts.append)
        self.parts = [part.raw().tobytes() for part in parts]

    def open(self) -> Any:
        return pickle.loads(self.data, buffers=self.parts)


class Ref:
    """What a call returns or raises, from some time on."""

    def __init__(
        self, value: Any = None, error: Exception | None = None, time: float = 0.0
    ) -> None:
        self.parcel, self.error, self.time = Parcel(value), error, time


class Actor:
    """A worker; calls are done in the order in which they are made."""

    def __init__(self, fleet: "FakeRay", cls: type, args: tuple[Any, ...], options: dict) -> None:
        self.fleet, self.options, self.is_alive = fleet, options, True
        self.calls: list[str] = []
        self.death: Exception = ray.exceptions.ActorDiedError()
        self._time = 0.0
        self._worker = cls(*Parcel(args).open())

    def __getattr__(self, name: str) -> Any:
        return SimpleNamespace(remote=lambda *args: self._call(name, args))

    def _call(self, name: str, args: tuple[Any, ...]) -> Ref:
        self.calls.append(name)
        if not self.is_alive:
            return Ref(error=self.death)
        self._time = max(self._time, self.fleet.time) + self.fleet.seconds[name]
        args = tuple(self.fleet.get(x) if isinstance(x, Ref) else x for x in args)
        try:
            given = Parcel(args).open()
            return Ref(getattr(self._worker, name)(*given), time=self._time)
        except Death as death:
            self.is_alive, self.death = False, death.error
            return Ref(error=self.death)
        except Exception as error:
            text = traceback.format_exc()
            raised = ray.exceptions.RayTaskError(name, text, error).as_instanceof_cause()
            return Ref(error=raised, time=self._time)


class FakeRay:
    """
    Stands for the module ``ray``. Time passes only where somebody waits.

    :param cpus: of its machine
    """

    exceptions, cloudpickle = ray.exceptions, ray.cloudpickle

    def __init__(self, cpus: int = 2) -> None:
        self.cpus = self.free = cpus
        self.actors: list[Actor] = []
        #: Seconds that calls take, by name.
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.time = 0.0

    def __call__(self, address: str | None = None) -> "FakeRay":
        """Stand for ``connect``, too."""
        return self

    def is_initialized(self) -> bool:
        return True

    def available_resources(self) -> dict[str, float]:
        return {"CPU": self.free}

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": self.cpus}

    def remote(self, cls: type) -> Any:
        def options(**given: Any) -> Any:
            def make(*args: Any) -> Actor:
                self.actors.append(Actor(self, cls, args, given))
                return self.actors[-1]

            return SimpleNamespace(remote=make)

        return SimpleNamespace(options=options)

    def put(self, value: Any) -> Ref:
        return Ref(value)

    def get(self, ref: Any, timeout: float | None = None) -> Any:
        if isinstance(ref, list):
            end = None if timeout is None else self.time + timeout
            return [self.get(one, None if end is None else end - self.time) for one in ref]
        if timeout is not None and ref.time > self.time + timeout:
            self.sleep(timeout)
            raise ray.exceptions.GetTimeoutError
        if ref.time > self.time:
            self.sleep(ref.time - self.time)
        if ref.error is not None:
            raise ref.error
        return ref.parcel.open()

    def sleep(self, seconds: float) -> None:
        self.time += seconds

    def monotonic(self) -> float:
        return self.time

    def wait(self, refs: Sequence[Ref], **_: Any) -> tuple[Sequence[Ref], list[Ref]]:
        return refs, []

    def kill(self, actor: Actor) -> None:
        actor.is_alive = False


def stand_in(setattr_: Callable[..., None], cpus: int = 2) -> FakeRay:
    """
    Put a fake in the place of Ray.

    :param setattr_: of pytest's ``monkeypatch``
    :param cpus: of its machine
    """
    fake = FakeRay(cpus)
    for module in ("fleet", "vec_env"):
        setattr_(f"dreamzoo.envs.remote.{module}.connect", fake)
    setattr_("dreamzoo.envs.remote.fleet.time", fake)
    return fake
