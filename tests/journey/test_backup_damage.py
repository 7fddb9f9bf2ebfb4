"""A backup that is not what was written is refused, with the place that is damaged."""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from devstack.backup.load import check
from devstack.backup.manifest import NAME, Manifest, NoBackupError, read_manifest, write_manifest
from devstack.backup.segment import DamagedBackupError, SegmentEntry, SegmentWriter
from eventspine.storage.codec import encode
from eventspine.storage.records import GENESIS
from eventspine.v1.admin_pb2 import CommandRow
from eventspine.v1.record_pb2 import EventRecord

STREAMS = ("account/a", "account/b")


def records() -> Iterator[bytes]:
    """Records of two streams in turn, each with its chain."""
    heads = dict.fromkeys(STREAMS, GENESIS)
    for number in range(6):
        stream = STREAMS[number % 2]
        record = EventRecord(stream=stream, stream_version=number // 2 + 1, type="t", payload=b"p")
        new, heads[stream] = encode(record, heads[stream])
        yield new.encoded


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small backup of two segments."""
    items = list(enumerate(records(), 1))
    segments = [
        segment(tmp_path, number, part) for number, part in enumerate((items[:4], items[4:]), 1)
    ]
    write_manifest(tmp_path, Manifest("id", "t", (6,), 2, {"old": (3,)}, "now", tuple(segments)))
    return tmp_path


def segment(folder: Path, number: int, items: list[tuple[int, bytes]]) -> SegmentEntry:
    writer = SegmentWriter(folder / f"segment-{number:06}.bin")
    for sequence, encoded in items:
        writer.record(0, sequence, encoded)
    writer.command(CommandRow(number=number, stream="account/a").SerializeToString())
    return writer.close()


def rewritten(folder: Path, items: list[tuple[int, bytes]], ends: tuple[int, ...] = (6,)) -> None:
    """Puts a backup of other records in its place, with sound checksums."""
    for path in folder.iterdir():
        path.unlink()
    only = segment(folder, 1, items)
    write_manifest(folder, Manifest("id", "t", ends, 1, {}, "now", (only,)))


def test_a_sound_backup_is_read_to_its_end(folder: Path) -> None:
    checked = check(folder)
    assert (checked.streams, checked.manifest.ends) == (2, (6,))


@pytest.mark.parametrize("name", [NAME, "segment-000001.bin", "segment-000002.bin"])
def test_every_byte_that_is_changed_is_noticed_and_its_place_named(folder: Path, name: str) -> None:
    path = folder / name
    sound = path.read_bytes()
    for at in range(len(sound)):
        for flipped in (sound[at] ^ 1, sound[at] ^ 0x80):
            path.write_bytes(sound[:at] + bytes([flipped]) + sound[at + 1 :])
            with pytest.raises(DamagedBackupError) as refused:
                check(folder)
            assert name in str(refused.value), f"byte {at}"
    path.write_bytes(sound)
    check(folder)


def test_the_damaged_record_is_named_by_its_number(folder: Path) -> None:
    path = folder / "segment-000001.bin"
    sound = path.read_bytes()
    numbers = []
    for at in range(21, len(sound)):
        path.write_bytes(sound[:at] + bytes([sound[at] ^ 1]) + sound[at + 1 :])
        with pytest.raises(DamagedBackupError, match=r"segment-000001\.bin .* \d$") as refused:
            check(folder)
        numbers.append(int(str(refused.value)[-1]))
    assert sorted(set(numbers)) == [1, 2, 3, 4, 5]
    assert all(earlier <= later for earlier, later in pairwise(numbers))


@pytest.mark.parametrize("name", [NAME, "segment-000001.bin", "segment-000002.bin"])
def test_a_file_that_is_cut_off_anywhere_is_refused(folder: Path, name: str) -> None:
    path = folder / name
    sound = path.read_bytes()
    for size in range(len(sound)):
        path.write_bytes(sound[:size])
        with pytest.raises(DamagedBackupError, match=name):
            check(folder)
    path.write_bytes(sound + b"x")
    with pytest.raises(DamagedBackupError, match=name):
        check(folder)


def test_a_missing_file_is_named(folder: Path) -> None:
    (folder / "segment-000002.bin").unlink()
    with pytest.raises(DamagedBackupError, match=r"segment-000002\.bin is missing"):
        check(folder)
    (folder / NAME).unlink()
    with pytest.raises(NoBackupError, match="holds no finished backup"):
        check(folder)
    with pytest.raises(NoBackupError):
        check(folder / "nowhere")


def test_segments_that_changed_places_are_refused(folder: Path) -> None:
    one, two = folder / "segment-000001.bin", folder / "segment-000002.bin"
    first, second = one.read_bytes(), two.read_bytes()
    one.write_bytes(second)
    two.write_bytes(first)
    with pytest.raises(DamagedBackupError, match=r"segment-000001\.bin, record 1"):
        check(folder)


def test_a_segment_that_no_manifest_names_is_not_part_of_the_backup(folder: Path) -> None:
    (folder / "segment-000003.bin").write_bytes(b"left by an attempt that did not finish")
    assert check(folder).manifest == read_manifest(folder)


def test_records_with_sound_checksums_and_a_broken_history_are_refused(folder: Path) -> None:
    sound = list(records())
    gap = [sound[0], sound[1], *sound[4:]]
    rewritten(folder, list(enumerate(gap, 1)), (4,))
    with pytest.raises(DamagedBackupError, match=r"record 3: .* goes on at version 3"):
        check(folder)
    rewritten(folder, list(enumerate(sound, 2)), (7,))
    with pytest.raises(DamagedBackupError, match="record 1: the log has a gap before sequence 2"):
        check(folder)
    forged = EventRecord.FromString(sound[2])
    forged.payload = b"forged"
    encoded = forged.SerializeToString()
    rewritten(folder, list(enumerate([*sound[:2], encoded, *sound[3:]], 1)))
    with pytest.raises(DamagedBackupError, match=r"record 3: the chain .* at version 2"):
        check(folder)
    rewritten(folder, list(enumerate(sound, 1)), (7,))
    with pytest.raises(DamagedBackupError, match=r"segments end at \(6,\), the manifest at \(7,\)"):
        check(folder)
