"""What `eventspine contract export` hands to a team."""

import json
import subprocess
import sysconfig
from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorSet

from devstack.contract_export import FolderTakenError, export_contract
from tests.journey.command_line import run_process

PROTOS = Path(__file__).parents[2] / "protos"


def test_a_team_gets_all_protos_as_they_are_and_what_errors_carry(tmp_path: Path) -> None:
    export_contract(tmp_path / "contract")
    handed = tmp_path / "contract" / "protos"
    ours = {path.relative_to(PROTOS) for path in PROTOS.rglob("*.proto")}
    for name in ours:
        assert (handed / name).read_bytes() == (PROTOS / name).read_bytes()
    others = {path.relative_to(handed).as_posix() for path in handed.rglob("*.proto")}
    others -= {name.as_posix() for name in ours}
    assert others == {"google/rpc/status.proto", "google/rpc/error_details.proto"}


def test_every_file_of_the_descriptor_set_stands_behind_what_it_imports(tmp_path: Path) -> None:
    export_contract(tmp_path / "contract")
    encoded = (tmp_path / "contract" / "descriptors.binpb").read_bytes()
    seen: set[str] = set()
    for file in FileDescriptorSet.FromString(encoded).file:
        assert set(file.dependency) <= seen, file.name
        assert file.name not in seen
        seen.add(file.name)
    assert {"bank/v1/account.proto", "google/rpc/error_details.proto"} <= seen


def test_buf_reads_what_was_handed_out(tmp_path: Path) -> None:
    folder = tmp_path / "contract"
    ran = run_process("contract", "export", str(folder), "--json", address="")
    assert (ran.code, ran.err) == (0, "")
    facts = json.loads(ran.out)
    assert facts["protos"] == len(list((folder / "protos").rglob("*.proto")))
    assert facts["messages"] == len(json.loads((folder / "golden_messages.json").read_text()))
    buf = Path(sysconfig.get_path("scripts")) / "buf"
    against = ["--against", folder / "released.binpb"]
    subprocess.run([buf, "breaking", folder / "protos", *against], check=True)


def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.write_text("mine")
    for place in (tmp_path, kept):
        with pytest.raises(FolderTakenError, match="is not an empty folder; name a new one"):
            export_contract(place)
    assert kept.read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
