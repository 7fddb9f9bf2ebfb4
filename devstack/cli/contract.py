"""`eventspine contract`: what a team in another language takes with it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from devstack.cli.connection import Json, line
from devstack.cli.failure import EXIT_UNREACHABLE, stop

app = typer.Typer(no_args_is_help=True, help="Hand the contract to teams in other languages.")


@app.command()
def export(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder, new or empty.")],
    as_json: Json = False,
) -> None:
    """Write protos, descriptor set, golden messages and the released image into a folder."""
    from devstack.contract_export import FolderTakenError, export_contract
    from devstack.contract_files import ContractNotFoundError

    try:
        exported = export_contract(folder)
    except (FolderTakenError, ContractNotFoundError) as error:
        stop(str(error))
    except OSError as error:
        stop(f"cannot write the contract: {error}", EXIT_UNREACHABLE)
    if as_json:
        typer.echo(line({"folder": str(folder), **exported._asdict()}))
        return
    typer.echo(
        f"{folder} holds {exported.protos} proto files in protos/, descriptors.binpb of "
        f"{exported.descriptors} files, {exported.messages} golden messages, and released.binpb"
    )
