"""Opening a backend gives every port over one store."""

import subprocess
import sys
from pathlib import Path

import pytest

from eventspine.storage.connect import open_memory, open_sqlite
from eventspine.storage.errors import OwnedError
from tests.storage.appends import append_of, stored


async def test_a_store_in_memory_is_empty_and_has_an_id_of_its_own() -> None:
    first, second = open_memory(), open_memory(partitions=4)
    assert not first.sequences_on_append
    assert first.identity.store_id != second.identity.store_id
    assert (first.identity.backend, first.identity.location) == ("memory", "")
    assert await second.log.ends() == (0, 0, 0, 0)
    assert await first.registry.views() == []
    await first.close()


async def test_a_store_file_is_owned_while_open_and_keeps_its_events(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    backend = await open_sqlite(path)
    assert backend.sequences_on_append
    assert backend.identity.location == str(path)
    with pytest.raises(OwnedError):
        await open_sqlite(path)
    await stored(backend.events, [append_of("a/1", 0, "c")])
    await backend.close()
    await backend.close()

    backend = await open_sqlite(path)
    assert await backend.log.ends() == (1,)
    assert await backend.views.progress("bank.v1.AccountBalance@1") == (0,)
    assert await backend.registry.views() == []
    await backend.close()


def test_the_embedded_mode_imports_no_driver_of_the_stack() -> None:
    code = (
        "import sys, devstack.embedded, devstack.cli.main, devstack.cli.dev\n"
        "print(sorted({'cassandra', 'confluent_kafka'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
