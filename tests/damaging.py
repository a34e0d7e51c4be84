"""Ways to damage files of dreamzoo, and to forge them with an index that fits."""

import io
import json
import math
import random
import struct
import zipfile
import zlib
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch as th

from dreamzoo.common.storage.container import INDEX
from tests.rewriting import members, rewrite

#: What a bomb unpacks to.
GIGABYTES = 2**31
#: What stands in the place of a value of JSON.
ODD: tuple[Any, ...] = (
    *(None, True, -1, 0, 1e308, math.nan, 10**12, 10**17, 10**400, "x", "12m", [], {}),
    *({":class": "os:system"}, {":object": ["Popen", {}]}, {":tuple": [1]}, {":no": 1}),
    *({":array": ["<f4", [10**12], ""]}, {":array": ["|O", [1], "AAAA"]}, {":bytes": "?"}),
    {":space": ["MultiBinary", {"n": [10**12]}]},
)

Bytes = Callable[[bytes, random.Random], bytes]
File = Callable[[Path, Path, random.Random], None]


# ---------------------------------------------------------------------- without an index that fits


def cut(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(len(data))]


def flip(data: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(data))
    return data[:at] + bytes([data[at] ^ (1 << rng.randrange(8))]) + data[at + 1 :]


def zero(data: bytes, rng: random.Random) -> bytes:
    at, size = rng.randrange(len(data)), rng.randrange(1, 4096)
    hole = bytes(len(data[at : at + size]))
    return data[:at] + hole + data[at + size :]


def lengthen(data: bytes, rng: random.Random) -> bytes:
    more = rng.randbytes(rng.randrange(1, 4096))
    return data + more if rng.random() < 0.5 else more + data


def repack(how: str, data: bytes, rng: random.Random) -> bytes:
    """Swap, drop, add or rename members, with the index of before."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    names = [name for name in parts if name != INDEX]
    one, other = rng.choice(names), rng.choice(names)
    if how == "swapped":
        parts[one], parts[other] = parts[other], parts[one]
    elif how == "missing":
        del parts[rng.choice([*names, INDEX])]
    elif how == "foreign":
        parts[f"{one}.more"] = parts[one]
    else:
        parts = {f"{one}.other" if name == one else name: part for name, part in parts.items()}
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, part in parts.items():
            archive.writestr(name, part)
    return file.getvalue()


#: By name; ways that do not need a zip archive come first.
RAW: dict[str, Bytes] = {
    **{"cut short": cut, "flipped": flip, "zeroed": zero, "lengthened": lengthen},
    **{how: partial(repack, how) for how in ("swapped", "missing", "foreign", "renamed")},
}
OF_ANY_FILE = ("cut short", "flipped", "zeroed", "lengthened")


# ---------------------------------------------------------------------- with an index that fits


def bomb(source: Path, target: Path, rng: random.Random) -> None:
    """Let a member unpack to gigabytes, as a zip archive that is sound and an index that fits."""
    parts = members(source)
    name = rng.choice([name for name in parts if name != INDEX])
    packed, crc = zeros(GIGABYTES)
    said = json.loads(parts[INDEX])
    said["members"][name] = [GIGABYTES, crc]
    parts |= {INDEX: json.dumps(said).encode(), name: packed}
    with zipfile.ZipFile(target, "w") as archive:
        for member, part in parts.items():
            archive.writestr(member, part)
        info = archive.getinfo(name)
        info.compress_type, info.CRC, info.file_size = zipfile.ZIP_DEFLATED, crc, GIGABYTES
    with target.open("rb+") as file:  # in front of the member stands what the directory says
        file.seek(info.header_offset + 8)
        file.write(struct.pack("<H", zipfile.ZIP_DEFLATED))
        file.seek(info.header_offset + 14)
        file.write(struct.pack("<3L", crc, len(packed), GIGABYTES))


@cache
def zeros(size: int) -> tuple[bytes, int]:
    """Compress zeros, once for all bombs; return their CRC-32, too."""
    packer, block = zlib.compressobj(1, wbits=-15), bytes(2**20)
    packed, crc = [], 0
    for _ in range(size // len(block)):
        packed.append(packer.compress(block))
        crc = zlib.crc32(block, crc)
    return b"".join([*packed, packer.flush()]), crc


def overlap(source: Path, target: Path, rng: random.Random) -> None:
    """Let a thousand members be the same bytes, which the index counts as often."""
    parts = members(source)
    name = max(parts, key=lambda member: len(parts[member]))
    more = {f"{name}.{i}": name for i in range(1_000)}
    said = json.loads(parts[INDEX])
    said["members"] |= {new: said["members"][name] for new in more}
    parts[INDEX] = json.dumps(said).encode()
    with zipfile.ZipFile(target, "w") as archive:
        for member, part in parts.items():
            archive.writestr(member, part)
        for new in more:
            info = zipfile.ZipInfo(new)
            old = archive.getinfo(name)
            info.header_offset, info.CRC = old.header_offset, old.CRC
            info.file_size = info.compress_size = old.file_size
            archive.filelist.append(info)


def inner_bomb(source: Path, target: Path, rng: random.Random) -> None:
    """Let tensors unpack to gigabytes, or JSON be nested without end."""
    parts = members(source)
    packed = [name for name, part in parts.items() if name[-4:] == ".pth" and b"/data/" in part]
    name = rng.choice([*packed, *(name for name in parts if _is_json(name) and name != INDEX)])
    if name not in packed:
        rewrite(source, target, {name: b'{"a":' + b"[" * 10**6})
        return
    file = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(parts[name])) as old,
        zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as new,
    ):
        large = rng.choice([inner for inner in old.namelist() if "/data/" in inner])
        for inner in old.namelist():
            new.writestr(inner, bytes(2**27) if inner == large else old.read(inner))
    rewrite(source, target, {name: file.getvalue()})


def other_arrays(source: Path, target: Path, rng: random.Random) -> None:
    """Give an array another shape or dtype, or a header that promises more than it holds."""
    name = rng.choice([name for name in members(source) if name[-4:] == ".npy"])
    array, file = np.load(io.BytesIO(members(source)[name])), io.BytesIO()
    kind: Any = rng.choice([np.float64, np.int8, np.float16, "S3", [("a", "<f4")]])
    changes = [array[:-1], array[None], np.asfortranarray(array), np.zeros(array.shape, kind)]
    if rng.random() < 0.25:
        what = {"descr": "<f4", "fortran_order": False, "shape": (10**9, 10**6)}
        np.lib.format.write_array_header_1_0(file, what)
    else:
        np.save(file, rng.choice(changes))
    rewrite(source, target, {name: file.getvalue()})


def other_tensors(source: Path, target: Path, rng: random.Random) -> None:
    """Give a tensor another shape, dtype or layout, or none."""
    parts = members(source)
    names = [name for name in parts if name[-4:] == ".pth" and name[:7] != "pytorch"]
    name = rng.choice(names)
    state = th.load(io.BytesIO(parts[name]), weights_only=True)
    of = state if "state" not in state else rng.choice([*state["state"].values()])
    key = rng.choice([key for key, value in of.items() if isinstance(value, th.Tensor)])
    of[key] = _another(of[key], rng)
    file = io.BytesIO()
    th.save(state, file)
    rewrite(source, target, {name: file.getvalue()})


def _another(tensor: th.Tensor, rng: random.Random) -> Any:
    shape = tuple(tensor.shape)
    made: list[Callable[[], Any]] = [
        *(lambda: tensor[None], lambda: tensor.double(), lambda: tensor.half(), lambda: None),
        *(lambda: 1.0, lambda: th.ones(1).expand(10**9, 10**3), lambda: tensor.to_sparse()),
        *(lambda: th.empty(shape, device="meta"), lambda: tensor.bool(), lambda: [tensor]),
        *(lambda: tensor.to(th.complex64), lambda: th.ones(1).as_strided(shape, (0,) * len(shape))),
    ]
    return rng.choice(made)()


def other_json(source: Path, target: Path, rng: random.Random) -> None:
    """Let some value of a file's JSON be anything else."""
    parts = members(source)
    name = rng.choice([name for name in parts if _is_json(name)])
    said = json.loads(parts[name])
    places = [*_places(said)]
    owner, key = rng.choice(places)
    if isinstance(owner, dict) and rng.random() < 0.1:
        del owner[key]
    else:
        owner[key] = rng.choice(ODD)
    data = json.dumps(said).encode()
    if name != INDEX:
        rewrite(source, target, {name: data})
        return
    with zipfile.ZipFile(target, "w") as archive:
        for member, part in parts.items():
            archive.writestr(member, data if member == INDEX else part)


def _is_json(name: str) -> bool:
    return name == "data" or name[-5:] == ".json"


def _places(said: Any) -> Any:
    """List where something stands in JSON."""
    keys = said.keys() if isinstance(said, dict) else range(len(said))
    for key in list(keys):
        yield said, key
        if isinstance(said[key], (dict, list)):
            yield from _places(said[key])


def exchange(source: Path, target: Path, rng: random.Random) -> None:
    """Swap two members, leave one out or add one, and say so in the index."""
    parts = members(source)
    names = [name for name in parts if name != INDEX]
    one, other = rng.choice(names), rng.choice(names)
    changed: dict[str, bytes | None] = rng.choice(
        [{one: parts[other], other: parts[one]}, {one: None}, {f"{one}.more": parts[other]}]
    )
    rewrite(source, target, changed)


#: By name: what is needed of a file's members, and how it is made.
FORGED: dict[str, tuple[str, File]] = {
    "bomb": ("", bomb),
    "overlapping": ("", overlap),
    "bomb inside": ("", inner_bomb),
    "other arrays": (".npy", other_arrays),
    "other tensors": (".pth", other_tensors),
    "other values": ("", other_json),
    "exchanged": ("", exchange),
}
#: Forged files that may be sound files of something else.
MAY_BE_SOUND = ("other tensors", "other values", "exchanged")
