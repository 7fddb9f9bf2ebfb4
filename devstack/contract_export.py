"""Hands the contract to teams in other languages; promise: all that stubs and their tests need.

- protos/: to generate stubs from, ours and those that errors carry (google/rpc), and
  the rules by which buf compares;
- descriptors.binpb: a FileDescriptorSet with all imports, for gateways and tools;
- golden_messages.json: each message's bytes and JSON, to be read and written back by stubs' tests;
- released.binpb: the released contract, for `buf breaking --against`.
"""

import importlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from devstack.contract_files import (
    ContractNotFoundError,
    golden_messages,
    proto_root,
    released_image,
)
from devstack.edge.contract import descriptor_set

DETAILS = ("google/rpc/status.proto", "google/rpc/error_details.proto")
"""What errors carry, though no proto of ours names it."""


class FolderTakenError(Exception):
    """The folder holds something already; nothing was written. The text says which."""


class Exported(NamedTuple):
    """How much was written: proto files, files in the descriptor set, golden messages."""

    protos: int
    descriptors: int
    messages: int


def export_contract(folder: Path) -> Exported:
    """Writes the contract into a folder, which is made where it is not there.

    Raises:
        FolderTakenError: The folder is not empty, or is no folder. Nothing was written.
        ContractNotFoundError: The installation lacks a file of the contract. Nothing was written.
        OSError: The folder cannot be written; it may hold a part.
    """
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise FolderTakenError(f"{folder} is not an empty folder; name a new one")
    root, golden, image = proto_root(), golden_messages(), released_image()
    names = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.proto"))
    folder.mkdir(parents=True, exist_ok=True)
    ours = [(name, root / name) for name in (*names, "buf.yaml")]
    for name, source in [*ours, *_details()]:
        target = folder / "protos" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
    shutil.copyfile(golden, folder / golden.name)
    shutil.copyfile(image, folder / image.name)
    described = descriptor_set(map(_module, names))
    (folder / "descriptors.binpb").write_bytes(described.SerializeToString(deterministic=True))
    return Exported(
        len(names) + len(DETAILS), len(described.file), len(json.loads(golden.read_text()))
    )


def _details() -> Iterator[tuple[str, Path]]:
    for name in DETAILS:
        source = Path(str(_module(name).__file__)).with_name(Path(name).name)
        if not source.is_file():
            raise ContractNotFoundError(
                f"no {name} beside {source.parent}; install googleapis-common-protos again"
            )
        yield name, source


def _module(proto: str) -> ModuleType:
    """Returns the generated module of a proto file, given by its import path."""
    return importlib.import_module(proto.removesuffix(".proto").replace("/", ".") + "_pb2")
