"""Precision of products: torch's switches are set, and put back as they were found."""

import threading
import warnings
from collections.abc import Callable, Iterator

import pytest
import torch as th

from dreamzoo.nn.fast import precision
from dreamzoo.nn.fast.precision import Precision, current, has_bf16, resolve, using
from dreamzoo.nn.process import restores_process

CPU, CUDA = th.device("cpu"), th.device("cuda")
KEYS = [(backend, op) for backend in ("cuda", "mkldnn") for op in ("matmul", "conv", "rnn", "all")]
KEYS.append(("generic", "all"))

needs_bf16 = pytest.mark.skipif(not has_bf16(), reason="this processor multiplies no bf16")
needs_switches = pytest.mark.skipif(precision._get is None, reason="torch 2.9 has the switches")


def switches() -> dict[object, str]:
    """Read everything that torch says about products of float32."""
    found: dict[object, str] = {}
    if precision._get is not None:
        found |= {key: precision._get(*key) for key in KEYS}
    for name, read in {
        "old": th.get_float32_matmul_precision,
        "cublas": lambda: str(th.backends.cuda.matmul.allow_tf32),
        "cudnn": lambda: str(th.backends.cudnn.allow_tf32),
    }.items():
        try:
            found[name] = read()
        except RuntimeError as error:  # switches that contradict each other
            found[name] = str(error)
    return found


def newer(backend: str, op: str, name: str) -> Callable[[], None]:
    """Set one of the newer switches."""
    return lambda: precision._set(backend, op, name)


#: How users may have set torch's switches.
USERS: dict[str, Callable[[], None]] = {
    "untouched": lambda: None,
    "high": lambda: th.set_float32_matmul_precision("high"),
    "medium": lambda: th.set_float32_matmul_precision("medium"),
}
if precision._get is not None:
    USERS |= {
        "cuda": newer("cuda", "matmul", "tf32"),
        "cuda_ieee": newer("cuda", "matmul", "ieee"),
        "cuda_conv": newer("cuda", "conv", "ieee"),
        "cuda_all": newer("cuda", "all", "tf32"),
        "mkldnn": newer("mkldnn", "matmul", "bf16"),
        "mkldnn_all": newer("mkldnn", "all", "bf16"),
        "generic": newer("generic", "all", "ieee"),
        "generic_tf32": newer("generic", "all", "tf32"),
    }


@pytest.fixture(autouse=True)
def untouched() -> Iterator[None]:
    """Leave torch as it is after its import."""
    before = {} if precision._get is None else {key: precision._get(*key) for key in KEYS}
    yield
    th.set_float32_matmul_precision("highest")
    for key, name in before.items():
        precision._set(*key, name)
    assert current() == "fp32"


@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize(
    ("wanted", "device"),
    [("fp32", CPU), pytest.param("bf16", CPU, marks=needs_bf16), ("fp32", CUDA), ("tf32", CUDA)],
)
def test_switches_are_put_back(user: str, wanted: str, device: th.device) -> None:
    USERS[user]()
    before = switches()
    with using(wanted, device):
        assert current() == wanted
    assert switches() == before
    assert current() == "fp32"


@pytest.mark.parametrize("user", ["untouched", "high", "medium"])
@pytest.mark.parametrize("wanted", ["fp32", "tf32"])
def test_older_and_newer_names_agree_within(user: str, wanted: Precision) -> None:
    USERS[user]()
    with using(wanted, CUDA):  # torch.compile reads the older ones: pytorch/pytorch#166387
        assert precision._is_set(wanted, "cuda") or precision._get is None
        assert th.backends.cuda.matmul.allow_tf32 == (wanted == "tf32")
        assert (th.get_float32_matmul_precision() == "highest") == (wanted == "fp32")


@needs_bf16
@needs_switches
def test_a_later_change_of_what_a_switch_follows_reaches_it() -> None:
    precision._set("generic", "all", "ieee")
    with using("bf16", CPU):
        pass
    precision._set("generic", "all", "bf16")
    assert precision._get("mkldnn", "matmul") == "bf16"


@needs_bf16
def test_blocks_nest_and_end_in_an_error() -> None:
    before = switches()
    with using("bf16", CPU):
        inside = switches()
        with using("fp32", CPU):
            assert current() == "fp32"
            assert precision._is_set("fp32", "cpu") or precision._get is None
        with pytest.raises(KeyError), using("fp32", CPU):
            raise KeyError
        assert current() == "bf16"
        assert switches() == inside
        with using("bf16", CPU):
            assert switches() == inside
        assert current() == "bf16"
    assert switches() == before


@needs_bf16
def test_an_interrupt_between_entering_and_the_block_leaves_nothing_behind() -> None:
    before = switches()

    @restores_process
    def interrupted() -> None:
        using("bf16", CPU).__enter__()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert switches() == before
    assert current() == "fp32"


@needs_bf16
def test_what_another_thread_has_entered_is_not_left_for_it() -> None:
    @restores_process
    def outermost() -> None:
        assert precision.entered() == []

    with using("bf16", CPU):
        thread = threading.Thread(target=outermost)
        thread.start()
        thread.join()
        assert current() == "bf16"


@pytest.mark.parametrize(
    ("wanted", "device", "old", "conv"),
    [
        ("fp32", CUDA, "highest", False),
        ("tf32", CUDA, "high", True),
        pytest.param("bf16", CPU, "medium", True, marks=needs_bf16),
    ],
)
def test_torch_2_8_has_older_switches_only(
    monkeypatch: pytest.MonkeyPatch, wanted: str, device: th.device, old: str, conv: bool
) -> None:
    monkeypatch.setattr(precision, "_get", None)
    monkeypatch.setattr(precision, "_set", None)

    def found() -> tuple[str, bool]:
        return th.get_float32_matmul_precision(), th.backends.cudnn.allow_tf32

    before = found()
    with using(wanted, device):
        assert found() == (old, conv)
    assert found() == before


@pytest.mark.parametrize("wanted", ["fp32", "tf32"])
def test_nobody_is_warned(wanted: str) -> None:
    precision._hush.cache_clear()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with using(wanted, CUDA):
            pass


@needs_bf16
@pytest.mark.parametrize("user", USERS)
def test_products_on_a_cpu_may_multiply_bf16(user: str) -> None:
    USERS[user]()
    with using("bf16", CPU):
        assert precision._is_set("bf16", "cpu") or precision._get is None


def test_what_a_setting_means_on_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    precision._resolve.cache_clear()
    monkeypatch.setattr(precision, "_has_bf16", lambda kind: kind == "cuda")
    table = {
        ("auto", "cpu"): "fp32",
        ("auto", "mps"): "fp32",
        ("auto", "cuda"): precision.AUTO_ON_CUDA,
        ("tf32", "cpu"): "fp32",
        ("tf32", "cuda"): "tf32",
        ("bf16", "cuda:1"): "bf16",
        ("fp32", "cuda"): "fp32",
    }
    assert {key: resolve(*key) for key in table} == table
    with pytest.raises(ValueError, match=r"cpu multiplies no bf16. Use precision='fp32'"):
        resolve("bf16", "cpu")
    precision._resolve.cache_clear()
