"""
Time on a GPU what is not decided yet, each beside what is used now.

    python scripts/gpu_trials.py                     # three minutes
    python scripts/gpu_trials.py convolutions
    python scripts/gpu_trials.py --device cpu --quick    # the first two, all of it small

``convolutions``: an update at 12m with images, where cuDNN may only use what gives the same
numbers every time, which a seed of SB3 asks for; where it may use anything; where it tries all and
keeps the fastest. ``loop``: the filter in one launch a sequence instead of five a step
(:data:`dreamzoo.nn.fast.triton.tiles.LOOP`); the slower form is to be deleted. ``tiles``: others
for the encoder's first stage, which takes 1.4 of 19 ms. One JSON line a result.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch as th

from dreamzoo.benchmark.speed.updates import is_recorded, release_memory, time_update
from dreamzoo.benchmark.speed.work import Mode, Work, make_model

#: Of ``tiles``: rows of a tile and warps.
FORWARD = ((64, 8), (64, 4), (32, 4), (128, 8), (32, 8))
#: The same, and whether a program sums all four corners; programs, None for as many as now.
BACKWARD = (
    *((32, 16, True, None), (32, 8, True, 528), (32, 4, True, 528), (64, 8, True, 264)),
    *((64, 16, True, 264), (32, 4, False, 264), (16, 4, True, 528), (128, 8, True, 132)),
)


def time_updates(work: Work, **cudnn: bool) -> dict[str, Any]:
    """
    Time updates as they are made by default on CUDA.

    :param work: what is computed
    :param cudnn: flags of ``torch.backends.cudnn`` while it is
    """
    mode = Mode("bf16" if work.device == "cuda" else "fp32", graph=True, triton=True)
    model = make_model(work, mode)
    flags = {"deterministic": th.backends.cudnn.deterministic, "benchmark": False} | cudnn
    with th.backends.cudnn.flags(enabled=True, **flags):
        model.train(8)
        wall, _ = time_update(model, 5, 8 if work.device == "cuda" else 1)
        loss = float(model.logger.name_to_value["train/recon_loss"])
    result = {
        "size": work.size,
        "obs": work.obs,
        "ms": [round(1e3 * x, 3) for x in sorted(wall)],
        "graph": is_recorded(model),
        "recon_loss": round(loss, 3),
        **flags,
    }
    del model
    release_memory()
    return result


def try_convolutions(works: list[Work]) -> Iterator[dict[str, Any]]:
    for deterministic, benchmark in ((True, False), (False, False), (False, True)):
        yield time_updates(works[0], deterministic=deterministic, benchmark=benchmark)


def try_loop(works: list[Work]) -> Iterator[dict[str, Any]]:
    from dreamzoo.nn.fast.triton import tiles

    now = tiles.LOOP
    try:
        for tiles.LOOP in (False, True):
            for work in works:
                yield {"launches_a_sequence": 1 if tiles.LOOP else 5 * 64} | time_updates(work)
    finally:
        tiles.LOOP = now


def try_tiles(_: list[Work]) -> Iterator[dict[str, Any]]:
    import triton

    from dreamzoo.nn.fast.triton import pixels
    from dreamzoo.nn.fast.triton.images import rows_of
    from dreamzoo.nn.fast.triton.kernels import launch, share_out

    width, views = 32, 128
    images = th.rand(16 * 64, 3, 64, 64, device="cuda")
    kernel = (0.1 * th.randn(width, 3, 5, 5, device="cuda")).requires_grad_()
    bias, scale = th.zeros(width, device="cuda"), th.ones(width, device="cuda")
    expected = pixels.FirstStage.apply(images, kernel, bias, scale, "bf16")
    _, pooled, index, *_ = expected.grad_fn.saved_tensors
    into, rows = rows_of(th.randn_like(expected)), pooled.numel() // width
    sizes = rows, 3, 64, 64, width, "bf16"

    def run(of: Any, grid: tuple[int, ...], warps: int, *given: Any) -> float:
        return timed(partial(launch, of, grid, *given, num_warps=warps))

    for tall, warps in FORWARD:
        written = th.empty_like(pooled), th.empty_like(pooled), th.empty_like(index)
        given = images, kernel.detach(), bias, scale, *written, *sizes, tall, views, width
        us = run(pixels._first_stage_kernel, (triton.cdiv(rows, tall),), warps, *given)
        same = th.equal(written[0], expected.detach().permute(0, 2, 3, 1))
        yield {"stage": "forward", "tall": tall, "warps": warps, "us": us, "same": same}
    reference = None
    for tall, warps, together, programs in BACKWARD:
        tiles = triton.cdiv(rows, tall)
        turns = share_out(tiles, 0)[1] if programs is None else triton.cdiv(tiles, programs)
        count = triton.cdiv(tiles, turns)
        products = scale.new_empty(count, 4, 3, 6, 6, width)
        sums = scale.new_empty(count, 2, width)
        read = images, pooled, index, bias, scale, into, products, sums
        rest = *sizes, turns, together, tall, views, width
        of, grid = pixels._first_stage_backward_kernel, (count, 1 if together else 4)
        us = run(of, grid, warps, *read, *rest)
        found = products.sum(0)
        reference = found if reference is None else reference
        error = ((found - reference).norm() / reference.norm()).item()
        line = {"stage": "backward", "tall": tall, "warps": warps, "together": together}
        yield line | {"programs": count, "us": us, "error": round(error, 6)}


def timed(function: Callable[[], object], repeat: int = 10) -> float:
    """Return the microseconds of a call on CUDA."""
    function()
    begin, end = (th.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    for _ in range(repeat):
        function()
    end.record()
    th.cuda.synchronize()
    return round(1e3 * begin.elapsed_time(end) / repeat, 1)


TRIALS: dict[str, Callable[[list[Work]], Iterator[dict[str, Any]]]] = {
    "convolutions": try_convolutions,
    "loop": try_loop,
    "tiles": try_tiles,
}


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("trials", nargs="*", metavar="TRIAL", help=", ".join(TRIALS))
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--quick", action="store_true", help="everything small")
    args = parser.parse_args(argv)
    works = [
        Work(obs=obs, size="debug" if args.quick else size, device=args.device)
        for size, obs in (("12m", "image"), ("1m", "vector"))
    ]
    if args.quick:
        works = [work._replace(batch=2, length=4, horizon=3) for work in works]
    possible = [name for name in TRIALS if args.device == "cuda" or name != "tiles"]
    if unknown := [name for name in args.trials if name not in possible]:
        known = ", ".join(possible)
        parser.error(f"no trial {', '.join(unknown)} on {args.device}; there are {known}")
    start = time.monotonic()
    for name in args.trials or possible:
        try:
            for line in TRIALS[name](works):
                line = {"trial": name} | line | {"at": round(time.monotonic() - start, 1)}
                print(json.dumps(line), flush=True)
        except Exception as error:  # the others are tried
            print(json.dumps({"trial": name, "error": f"{error!r:.300}"}), flush=True)


if __name__ == "__main__":
    main()
