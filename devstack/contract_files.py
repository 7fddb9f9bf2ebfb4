"""Finds the platform's own proto files, in the repository and where it is installed."""

from pathlib import Path


class ContractNotFoundError(Exception):
    """The platform's proto files are not where they belong; the text says how to get them."""


def proto_root() -> Path:
    """Returns the folder to give to protoc with `-I`; it holds `eventspine/v1/options.proto`.

    Raises:
        ContractNotFoundError: Neither the repository nor the installed package has it.
    """
    here = Path(__file__).resolve().parents[1]
    for folder in (here / "protos", here / "eventspine" / "contract" / "protos"):
        if (folder / "eventspine" / "v1" / "options.proto").is_file():
            return folder
    raise ContractNotFoundError(
        f"no eventspine/v1/options.proto in or beside {here}; install eventspine again"
    )
