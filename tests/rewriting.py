"""Files of dreamzoo that someone has written anew, with an index that fits."""

import io
import json
import pickle
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from dreamzoo.common.storage.container import INDEX


def members(path: Path) -> dict[str, bytes]:
    """Read all members of a file."""
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def rewrite(
    source: Path,
    target: Path,
    changed: Mapping[str, bytes | None],
    index: Mapping[str, Any] | None = None,
) -> Path:
    """
    Write a file with other members, and an index that says so.

    :param source: the file
    :param target: where to
    :param changed: contents by name; None leaves a member out
    :param index: what else the index shall say
    """
    parts = {k: v for k, v in {**members(source), **changed}.items() if v is not None}
    said = json.loads(parts.pop(INDEX)) | dict(index or {})
    said["members"] = {k: [len(v), zlib.crc32(v)] for k, v in parts.items()}
    parts[INDEX] = json.dumps(said).encode()
    with zipfile.ZipFile(target, "w") as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    return target


def rewrite_json(source: Path, target: Path, name: str, change: Callable[[Any], Any]) -> Path:
    """
    Write a file with one member of JSON changed.

    :param source: the file
    :param target: where to
    :param name: of the member
    :param change: takes what it says; returns what it shall say, or None if that was changed
    """
    said = json.loads(members(source)[name])
    other = change(said)
    said = said if other is None else other
    return rewrite(source, target, {name: json.dumps(said).encode()})


class Payload:
    """
    Makes a file when it is unpickled.

    :param mark: the file
    """

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


def payloads(mark: Path) -> list[bytes]:
    """List what would run code, in the forms that readers might expect."""
    plain = pickle.dumps(Payload(mark))
    tensors = io.BytesIO()
    with zipfile.ZipFile(tensors, "w") as archive:  # as torch.save writes
        archive.writestr("archive/data.pkl", plain)
        archive.writestr("archive/version", b"3\n")
        archive.writestr("archive/byteorder", b"little")
    objects = io.BytesIO()
    objects.write(b"\x93NUMPY\x01\x00v\x00" + str({"descr": "|O", "fortran_order": False}).encode())
    text = plain.decode("latin1")
    sb3 = {"more": {":type:": "x", ":serialized:": text}, "learning_rate": {":serialized:": text}}
    classes = {"policy_class": {":class": "os:system"}, "policy_kwargs": {":object": ["Popen", {}]}}
    said = [json.dumps(what).encode() for what in (sb3, classes, {"__reduce__": [text]})]
    return [plain, tensors.getvalue(), objects.getvalue() + plain, *said]
