"""Makes a project's Python stubs from its proto files; promise: only where a proto is newer.

`python -m devstack.stubs [FOLDER]` does it by hand. The stubs of `FOLDER/protos/shop/v1/x.proto`
are `FOLDER/shop/v1/x_pb2.py` and its companions, so that they can be imported from the folder.
"""

import importlib
import sys
from pathlib import Path

from devstack.contract_files import proto_root

_ENDINGS = ("_pb2.py", "_pb2.pyi", "_pb2_grpc.py")


class StubsError(Exception):
    """The stubs could not be made; the text says why and how to cure it. Old ones are kept."""


def make_stubs(project: Path) -> bool:
    """Makes the stubs of a project, and removes those whose proto file is gone.

    Args:
        project: The folder that has `protos/`.

    Returns:
        Whether there was anything to make.

    Raises:
        StubsError: There is no proto file, protoc is not installed, or it refuses a file.
    """
    protos = sorted((project / "protos").rglob("*.proto"))
    if not protos:
        raise StubsError(f"no proto file in {project / 'protos'}; write one there")
    _remove_orphans(project, protos)
    if not _outdated(project, protos):
        return False
    _compile(project, protos)
    importlib.invalidate_caches()
    return True


def newer_proto(project: Path) -> Path | None:
    """Returns a proto file of a project that is newer than its stub; None where there is none."""
    for proto in sorted((project / "protos").rglob("*.proto")):
        stub = _stubs_of(project, proto)[0]
        if stub.is_file() and stub.stat().st_mtime_ns < proto.stat().st_mtime_ns:
            return proto
    return None


def _stubs_of(project: Path, proto: Path) -> list[Path]:
    place = project / proto.relative_to(project / "protos").with_suffix("")
    return [place.with_name(place.name + ending) for ending in _ENDINGS]


def _outdated(project: Path, protos: list[Path]) -> bool:
    stubs = [stub for proto in protos for stub in _stubs_of(project, proto)]
    if not all(stub.is_file() for stub in stubs):
        return True
    newest = max(proto.stat().st_mtime_ns for proto in protos)
    return newest >= min(stub.stat().st_mtime_ns for stub in stubs)


def _remove_orphans(project: Path, protos: list[Path]) -> None:
    kept = {stub for proto in protos for stub in _stubs_of(project, proto)}
    for folder in {stub.parent for stub in kept}:
        for ending in _ENDINGS:
            for stub in folder.glob(f"*{ending}"):
                if stub not in kept:
                    stub.unlink()


def _compile(project: Path, protos: list[Path]) -> None:
    try:
        # It is part of the `dev` extra, which running a platform does not need.
        import grpc_tools  # type: ignore[import-untyped] # it ships without types
        from grpc_tools import protoc
    except ImportError as error:
        raise StubsError("grpcio-tools is missing; pip install 'eventspine[dev]'") from error
    google = Path(next(iter(grpc_tools.__path__))) / "_proto"
    code = protoc.main(
        [
            "protoc",
            *(f"-I{folder}" for folder in (project / "protos", proto_root(), google)),
            *(f"--{kind}_out={project}" for kind in ("python", "pyi", "grpc_python")),
            *map(str, protos),
        ]
    )
    if code != 0:
        raise StubsError("protoc refuses a proto file; see what it printed above, and mend it")


if __name__ == "__main__":
    try:
        make_stubs(Path(sys.argv[1] if len(sys.argv) > 1 else "."))
    except StubsError as error:
        sys.exit(str(error))
