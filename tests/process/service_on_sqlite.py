"""A service process over a SQLite file: `python … NAME DB [slow|refused] arguments of the service`.

Everything but the store is that of the real process.
"""

import asyncio
import sys
from dataclasses import replace
from pathlib import Path

import command_svc.__main__
import processor_svc.__main__
import query_svc.__main__
from eventspine.domain.declared import Declarations
from eventspine.process.entry import main
from eventspine.storage.connect import Backend, open_sqlite
from eventspine.storage.errors import StackSetupError
from eventspine.storage.stack import StackSettings

SERVICES = {
    "command": command_svc.__main__.SERVICE,
    "processor": processor_svc.__main__.SERVICE,
    "query": query_svc.__main__.SERVICE,
}


def opener(db: Path, how: str):
    async def open_backend(_: StackSettings, __: Declarations) -> Backend:
        if how == "refused":
            raise StackSetupError("no contact point answers; start Cassandra, or name another")
        if how == "slow":
            await asyncio.sleep(600)
        return await open_sqlite(db)

    return open_backend


if __name__ == "__main__":
    name, db, how, *arguments = sys.argv[1:]
    main(replace(SERVICES[name], open_backend=opener(Path(db), how)), arguments)
