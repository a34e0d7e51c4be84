"""
What matrix products and convolutions multiply: float32 numbers, or those rounded to fewer digits.

Weights, sums and everything else stay float32. ``tf32`` keeps 10 bits behind the point, ``bf16`` 7:
products of both are exact, and a processor or a GPU that knows them makes many more in the same
time.

On a CPU and for TF32, torch's own switches do all of it; they are the whole process's, so
:class:`using` puts back what it found. For bf16 on CUDA torch has no switch: hot loops ask
:func:`current` and round the numbers themselves; what does not ask multiplies in TF32.
"""

import warnings
from functools import cache
from threading import local
from typing import Any, Literal, get_args

import torch as th

Precision = Literal["fp32", "tf32", "bf16"]
#: What an agent may be told; ``auto`` is the fastest that it is known to learn with.
PrecisionName = Literal["auto", "bf16", "tf32", "fp32"]
NAMES: tuple[str, ...] = get_args(PrecisionName)

#: What ``auto`` is on a GPU that can multiply it; elsewhere it is fp32.
AUTO_ON_CUDA: Precision = "bf16"

#: Newer names that torch has for float32.
_FLOAT32 = ("none", "ieee")
#: torch.set_float32_matmul_precision's names for the same.
_OLD_NAMES = {"fp32": "highest", "tf32": "high", "bf16": "medium"}
#: Switches that torch has had since version 2.9, by backend and operation.
_SWITCHES = [(backend, op) for backend in ("cuda", "mkldnn") for op in ("matmul", "conv")]
_get: Any = getattr(th._C, "_get_fp32_precision_getter", None)
_set: Any = getattr(th._C, "_set_fp32_precision_setter", None)

_current: Precision = "fp32"
_own = local()  # .entered: what this thread has entered and not left


def current() -> Precision:
    """Return what products multiply now, within :class:`using`; outside of it they are fp32."""
    return _current


def has_bf16(device: th.device | str = "cpu") -> bool:
    """
    Return whether products of bf16 are worth while: by instructions, not emulated.

    :param device: a CPU or a GPU
    """
    return _has_bf16(th.device(device).type)


@cache
def _has_bf16(kind: str) -> bool:
    if kind == "cpu":
        return th.backends.mkldnn.is_available() and th.ops.mkldnn._is_mkldnn_bf16_supported()
    return kind == "cuda" and th.cuda.is_bf16_supported(including_emulation=False)


def resolve(precision: str, device: th.device | str) -> Precision:
    """
    Return what a setting means on a device.

    :param precision: one of :data:`NAMES`
    :param device: where products are computed
    :raises ValueError: for bf16 where there are no instructions for it
    """
    return _resolve(precision, th.device(device).type)


@cache
def _resolve(precision: str, kind: str) -> Precision:
    if precision == "auto":
        return AUTO_ON_CUDA if kind == "cuda" and _has_bf16(kind) else "fp32"
    if precision == "tf32":
        return "tf32" if kind == "cuda" else "fp32"
    if precision == "bf16" and not _has_bf16(kind):
        raise ValueError(
            f"precision='bf16': this machine's {kind} multiplies no bf16. Use precision='fp32', "
            "which also load() takes, or 'auto'."
        )
    return precision  # type: ignore[return-value]


class using:
    """
    Let products multiply numbers of a precision within a ``with`` block.

    The switches are the process's: threads that want different ones get in each other's way.

    :param precision: one of :data:`NAMES`
    :param device: where they are computed
    :raises ValueError: see :func:`resolve`
    """

    def __init__(self, precision: str, device: th.device) -> None:
        self._wanted, self._kind = _resolve(precision, device.type), device.type

    def __enter__(self) -> None:
        global _current
        self._before = _current, None if _is_set(self._wanted, self._kind) else _read()
        entered().append(self)
        _current = self._wanted
        if self._before[1] is not None:
            _write(_OLD_NAMES[self._wanted], self._switches())

    def __exit__(self, *_: object) -> None:
        leave(entered().index(self))

    def _switches(self) -> dict[tuple[str, str], str]:
        """Return the convolutions' switches, which no other way sets."""
        name = {"fp32": "ieee", "tf32": "tf32", "bf16": "tf32"}[self._wanted]
        if self._kind == "cuda":
            return {("cuda", "conv"): name}
        return {("mkldnn", "conv"): "bf16" if self._wanted == "bf16" else "ieee"}

    def restore(self) -> None:
        """Put back what was found."""
        global _current
        _current, switches = self._before
        if switches is not None:
            _write(*switches)


def entered() -> list[using]:
    """Return what this thread has entered and not left."""
    try:
        return _own.entered
    except AttributeError:
        _own.entered = []
        return _own.entered


def leave(depth: int) -> None:
    """
    Leave what this thread has entered, the innermost first.

    :param depth: how many to stay in
    """
    stack = entered()
    while len(stack) > depth:
        stack[-1].restore()
        stack.pop()


def _is_set(wanted: Precision, kind: str) -> bool:
    """Return whether products on a device multiply what is wanted already."""
    if _get is None:
        return False
    if kind == "cuda":
        names = _FLOAT32 if wanted == "fp32" else ("tf32",)
        return _get("cuda", "matmul") in names and _get("cuda", "conv") in names
    names = ("bf16",) if wanted == "bf16" else _FLOAT32
    return _get("mkldnn", "matmul") in names and _get("mkldnn", "conv") in names


def holds(precision: str, kind: str) -> bool:
    """
    Return whether entering :class:`using` would change nothing; it takes less time than entering.

    :param precision: one of :data:`NAMES`
    :param kind: type of a device
    """
    wanted = _resolve(precision, kind)
    return _current == wanted and _is_set(wanted, kind)


def _read() -> tuple[str, dict[tuple[str, str], str]]:
    """Read torch's switches: the old name, and the newer ones that do not follow others."""
    if _get is None:
        conv = "tf32" if th.backends.cudnn.allow_tf32 else "ieee"
        return th.get_float32_matmul_precision(), {("cuda", "conv"): conv}
    found = {}
    for backend, op in _SWITCHES:
        name = _get(backend, op)
        found[backend, op] = "none" if name == _get(backend, "all") else name
    try:
        return th.get_float32_matmul_precision(), found
    except RuntimeError:  # the newer switches contradict it
        for backend in ("cuda", "mkldnn"):
            _set(backend, "matmul", "ieee")
        return th.get_float32_matmul_precision(), found


def _write(old: str, switches: dict[tuple[str, str], str]) -> None:
    """
    Set torch's switches.

    The old name moves the newer ones of matrix products along. It is set, too, because
    torch.compile still asks for it, and fails where they contradict each other.

    :param old: name of the precision of matrix products
    :param switches: newer ones to be set after that
    """
    _hush()
    th.set_float32_matmul_precision(old)
    for (backend, op), name in switches.items():
        if _set is not None:
            _set(backend, op, name)
        elif (backend, op) == ("cuda", "conv"):
            th.backends.cudnn.allow_tf32 = name == "tf32"


@cache
def _hush() -> None:
    """Let torch 2.9 to 2.12 say once, to nobody, that the old name is old."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        th.set_float32_matmul_precision(th.get_float32_matmul_precision())
