"""Files whose index says what belongs to them: damage is noticed, novelty is told apart from it."""

import io
import json
import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dreamzoo.common.storage.container import INDEX, FileError, OtherFormat, reading, writing
from tests.rewriting import members, rewrite

ARRAY = np.arange(600, dtype=np.float32).reshape(20, 30)
#: Two that are written together, one that is written for itself.
PIECES = (b"one ", b"two ", b"three" * 2**14, b"four")


def _write(path: Path, kind: str = "replay", moment: str = "a") -> Path:
    with path.open("wb") as file, writing(file, kind, moment) as writer:
        writer.write("text", b"some bytes")
        writer.write_json("numbers.json", {"a": [1, 2.5]})
        writer.write_array("array", ARRAY.dtype, ARRAY.shape, [ARRAY[:7], ARRAY[7:]])
        with writer.member("pieces") as member:
            for piece in map(bytearray, PIECES):
                member.write(piece)
                piece[:] = b"x" * len(piece)  # whoever writes may use the memory again
    return path


def _read(path: Path) -> tuple[Any, ...]:
    with reading(path, "replay", "npz") as reader:
        array = np.zeros_like(ARRAY)
        reader.read_array("array", array)
        text, numbers = reader.read("text"), reader.read_json("numbers.json")
        return text, numbers, array.tobytes(), reader.read("pieces")


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = _write(tmp_path / "file.npz", moment="m")
    pieces = b"".join(PIECES)
    assert _read(tmp_path / "file") == (b"some bytes", {"a": [1, 2.5]}, ARRAY.tobytes(), pieces)
    with reading(io.BytesIO(path.read_bytes()), "replay") as reader:
        assert reader.moment == "m"
        assert reader.names == ["text", "numbers.json", "array.npy", "pieces"]
    np.testing.assert_array_equal(np.load(path)["array"], ARRAY)
    assert path.read_bytes() == _write(tmp_path / "other", moment="m").read_bytes()


def test_a_flipped_bit_is_refused_or_changes_nothing(tmp_path: Path) -> None:
    path = _write(tmp_path / "file.npz")
    good, expected, refused = path.read_bytes(), _read(path), 0
    for bit in random.Random(0).sample(range(8 * len(good)), 400):
        bad = bytearray(good)
        bad[bit // 8] ^= 1 << bit % 8
        path.write_bytes(bad)
        try:
            found = _read(path)
        except FileError as error:
            refused += str(path) in str(error)
        else:
            refused += 1000 * (found != expected)
    assert 300 < refused <= 400


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.9, 0.99])
def test_a_file_that_is_cut_short_or_zeroed_is_refused(tmp_path: Path, share: float) -> None:
    path = _write(tmp_path / "file.npz")
    good = path.read_bytes()
    at = int(share * len(good))
    for bad in (good[:at], good[:at] + bytes(len(good) - at)):
        path.write_bytes(bad)
        with pytest.raises(FileError, match=r"file\.npz"):
            _read(path)


@pytest.mark.parametrize("what", ["missing", "foreign", "swapped", "of another file", "twice"])
def test_members_that_are_not_those_of_the_file_are_refused(tmp_path: Path, what: str) -> None:
    path = _write(tmp_path / "file.npz")
    parts = members(path)
    if what == "missing":
        del parts["text"]
    elif what == "foreign":
        parts = {"stranger": b"", **parts}
    elif what == "swapped":
        parts["text"], parts["pieces"] = parts["pieces"], parts["text"]
    elif what == "of another file":
        parts["array.npy"] = parts["array.npy"][:-4] + b"\0\0\0\0"
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
        if what == "twice":
            with pytest.warns(UserWarning, match="Duplicate"):
                archive.writestr("text", b"some bytes")
    with pytest.raises(FileError, match=r"file\.npz is damaged: its members are not those it had"):
        _read(path)


def test_what_would_unpack_to_more_than_the_file_is_refused(tmp_path: Path) -> None:
    path = _write(tmp_path / "file.npz")
    parts = members(path) | {"text": bytes(10**7)}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    with pytest.raises(FileError, match=r"has compressed members, which dreamzoo does not write"):
        _read(path)


@pytest.mark.parametrize(
    ("index", "said"),
    [
        ({"version": 2, "dreamzoo": "9.9"}, r"written by dreamzoo 9\.9, in a newer form .* Update"),
        ({"format": "dreamzoo agent"}, "holds an agent, not a replay"),
        ({"version": "1"}, "cannot be read"),
    ],
)
def test_a_newer_form_and_another_kind_are_no_damage(
    tmp_path: Path, index: dict[str, Any], said: str
) -> None:
    path = _write(tmp_path / "file.npz")
    with pytest.raises(FileError, match=rf"file\.npz .*{said}"):
        _read(rewrite(path, path, {}, index))


@pytest.mark.parametrize("data", [b"", b"text", b"\x80\x04N."])
def test_other_files_are_told_apart(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "other").write_bytes(data)
    with pytest.raises(OtherFormat, match="of SB3, damaged, or something else"):
        _read(tmp_path / "other")
    with zipfile.ZipFile(tmp_path / "zip", "w") as archive:
        archive.writestr("data", b"{}")
    with pytest.raises(OtherFormat, match="not of a form that is safe to read"):
        _read(tmp_path / "zip")
    with pytest.raises(FileNotFoundError):
        _read(tmp_path / "missing")


@pytest.mark.parametrize(
    "out", [np.zeros((20, 31), np.float32), np.zeros((20, 30)), np.zeros(600, np.float32)]
)
def test_arrays_of_another_shape_or_dtype_are_refused(tmp_path: Path, out: np.ndarray) -> None:
    path = _write(tmp_path / "file.npz")
    with (
        pytest.raises(FileError, match=r"file\.npz cannot be read, its array are float32 of"),
        reading(path, "replay") as reader,
    ):
        reader.read_array("array", out)
    assert not out.any()


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=rf"folder {tmp_path} holds no replay"):
        _read(tmp_path)


def test_what_ends_with_an_error_is_no_complete_file(tmp_path: Path) -> None:
    def fail() -> None:
        with path.open("wb") as file, writing(file, "replay", "") as writer:
            writer.write("text", b"some")
            raise KeyboardInterrupt

    path = tmp_path / "file.npz"
    with pytest.raises(KeyboardInterrupt):
        fail()
    with pytest.raises(FileError, match="damaged"):
        _read(path)


def test_an_error_of_the_system_is_raised_where_it_is_written(
    tmp_path: Path, full_disk: Callable[[int], Any]
) -> None:
    """Although another thread writes."""
    with full_disk(10**5), pytest.raises(OSError, match="large"), (tmp_path / "f").open("wb") as f:  # noqa: SIM117
        with writing(f, "replay", "") as writer:
            writer.write_array("a", np.uint8, (10**6,), [np.zeros(10**6, np.uint8)])


def test_an_index_that_is_no_index_is_refused(tmp_path: Path) -> None:
    path = _write(tmp_path / "file.npz")
    for text in ("[]", "{}", "1", json.dumps({"format": "dreamzoo replay"}), "{"):
        parts = members(path) | {INDEX: text.encode()}
        with zipfile.ZipFile(tmp_path / "bad.npz", "w") as archive:
            for name, data in parts.items():
                archive.writestr(name, data)
        with pytest.raises(FileError, match=r"bad\.npz cannot be read"):
            _read(tmp_path / "bad.npz")
