"""The tables say what the lines say."""

from typing import Any

from dreamzoo.benchmark.gpu_table import write_report

UPDATE: dict[str, Any] = {
    "case": "update 12m image",
    "size": "12m",
    "obs": "image",
    "device": "cuda:0",
    "precision": "bf16",
    "graph": True,
    "triton_kernels": True,
    "wall_seconds": 0.01234,
    "gflop": 812.5,
    "fraction_of_limit": 0.251,
    "peak_gpu_mb": 900,
    "launches": 1000,
    "launch_floor_seconds": 0.002,
}
PEER: dict[str, Any] = {
    "peer": "sheeprl 0.8.4",
    "size": "12m",
    "obs": "image",
    "precision": "bf16",
    "compiled": True,
    "wall_seconds": 0.03702,
    "beside": ["sheeprl compiled 1m vector"],
}


def test_updates_stand_beside_the_peers() -> None:
    eager = UPDATE | {"graph": False, "triton_kernels": False, "wall_seconds": 0.2}
    text = write_report([UPDATE, eager, PEER, PEER | {"compiled": False, "wall_seconds": 0.1}])
    rows = [line for line in text.splitlines() if line.startswith("| 12m")]
    assert rows[0].startswith("| 12m image | dreamzoo | graph | bf16 | 12.34 | 1000 | 2.00 |")
    assert "| 25.1% |" in rows[0]
    assert "| dreamzoo | eager, no Triton | bf16 | 200.00 |" in rows[1]
    assert "| sheeprl 0.8.4 | compiled | bf16 | 37.02 | - |" in rows[2]
    assert rows[2].endswith("| yes |")
    # The best of each is compared.
    assert "12m image: 12.34 ms, goal 15 ms met, 3.0 times as fast as the peer's best." in text
    assert len({line.count("|") for line in text.splitlines() if line.startswith("|")}) == 1


def test_goals_that_are_missed_are_said_to_be() -> None:
    slow = UPDATE | {"size": "1m", "obs": "vector", "wall_seconds": 0.0091}
    assert "1m vector: 9.10 ms, goal 9 ms missed." in write_report([slow])


def test_other_results_have_tables_of_their_own() -> None:
    about = {name: UPDATE[name] for name in ("size", "obs", "device", "precision", "graph")}
    text = write_report(
        [
            about | {"n_envs": 16, "milliseconds": 0.41},
            about
            | {"env": "synthetic/vector", "dream_steps_per_second": {"1": 950, "4096": 1200300}},
            about
            | {
                "n_envs": 1,
                "updates_per_second": 61.5,
                "env_steps_per_second": 123.1,
                "gpu_busy_share": 0.874,
            },
            {"passed": 80, "failed": 1, "skipped": 2, "failures": ["tests/x.py::y"], "ended": "z"},
        ]
    )
    assert "| 12m image | 16 | graph | bf16 | 0.41 |" in text
    assert "| 12m synthetic/vector | 4096 | graph | bf16 | 1,200,300 |" in text
    assert "| 12m image | 1 | graph | bf16 | 61.5 | 123.1 | 87% |" in text
    assert "80 passed, 1 failed, 2 skipped (`tests/x.py::y`): z." in text


def test_the_card_and_its_floors_come_first() -> None:
    card = dict(card="X", driver="1", torch="2", triton="3", python="4", commit="5", date="6")
    floors = dict(peak_tflops={"fp32": 51.5, "bf16": 790}, copy_gb_per_second=4300)
    text = write_report([UPDATE, floors | {"launch_us": 2.1, "gap_us": 0.85}, card])
    assert text.startswith("Measured floors: matrix products fp32 51.5, bf16 790 TFLOP/s; copies")
    assert "4300 GB/s; in a CUDA graph one of the smallest kernels every 2.1 us, 0.85 us" in text
    assert "X, driver 1, torch 2, Triton 3, Python 4, commit 5, 6." in text


def test_what_is_missing_is_left_out_and_what_went_wrong_is_named() -> None:
    text = write_report([{"case": "dreams", "status": "timeout"}, {"case": "card", "status": "ok"}])
    assert text == "Not finished: dreams (timeout)."
    assert write_report([]) == "Nothing was measured."


def test_a_mode_that_failed_is_named() -> None:
    text = write_report([UPDATE | {"error": "RuntimeError('no')", "wall_seconds": 0.1}, PEER])
    assert "12m image graph bf16: RuntimeError('no')" in text
