"""Ray without processes: what RemoteVecEnv asks of it, done at once, in this one."""

import traceback
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import ray


class Death(BaseException):
    """Ends the worker that raises it, as SIGKILL would."""


class Ref:
    """What a call returns or raises; what travels is pickled on the way."""

    def __init__(self, value: Any = None, error: Exception | None = None) -> None:
        self.value, self.error = ray.cloudpickle.dumps(value), error


class Actor:
    """A worker; calls are done in the order in which they are made."""

    def __init__(self, fleet: "FakeRay", cls: type, args: tuple[Any, ...], options: dict) -> None:
        self.fleet, self.options, self.is_alive = fleet, options, True
        self.calls: list[str] = []
        self._worker = cls(*ray.cloudpickle.loads(ray.cloudpickle.dumps(args)))

    def __getattr__(self, name: str) -> Any:
        return SimpleNamespace(remote=lambda *args: self._call(name, args))

    def _call(self, name: str, args: tuple[Any, ...]) -> Ref:
        self.calls.append(name)
        if not self.is_alive:
            return Ref(error=ray.exceptions.ActorDiedError())
        args = tuple(self.fleet.get(x) if isinstance(x, Ref) else x for x in args)
        try:
            given = ray.cloudpickle.loads(ray.cloudpickle.dumps(args))
            return Ref(getattr(self._worker, name)(*given))
        except Death:
            self.is_alive = False
            return Ref(error=ray.exceptions.ActorDiedError())
        except Exception as error:
            text = traceback.format_exc()
            return Ref(error=ray.exceptions.RayTaskError(name, text, error).as_instanceof_cause())


class FakeRay:
    """
    Stands for the module ``ray``.

    :param cpus: of its machine
    """

    exceptions, cloudpickle = ray.exceptions, ray.cloudpickle

    def __init__(self, cpus: int = 2) -> None:
        self.cpus = self.free = cpus
        self.actors: list[Actor] = []

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
            return [self.get(one) for one in ref]
        if ref.error is not None:
            raise ref.error
        return ray.cloudpickle.loads(ref.value)

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
    return fake
