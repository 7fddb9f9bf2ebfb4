"""Finds the files of the contract, in the repository and where it is installed."""

from pathlib import Path

HERE = Path(__file__).resolve().parents[1]
INSTALLED = HERE / "eventspine" / "contract"


class ContractNotFoundError(Exception):
    """A file of the contract is not where it belongs; the text says how to get it."""


def proto_root() -> Path:
    """Returns the folder to give to protoc with `-I`; it holds `eventspine/v1/options.proto`.

    Raises:
        ContractNotFoundError: Neither the repository nor the installed package has it.
    """
    return _first("eventspine/v1/options.proto", HERE / "protos", INSTALLED / "protos").parents[2]


def golden_messages() -> Path:
    """Returns the file of golden messages: the bytes and the JSON of every message, by name.

    Raises:
        ContractNotFoundError: Neither the repository nor the installed package has it.
    """
    return _first("golden_messages.json", HERE / "tests" / "contract", INSTALLED)


def released_image() -> Path:
    """Returns the image of the released contract, for `buf breaking --against`.

    Raises:
        ContractNotFoundError: Neither the repository nor the installed package has it.
    """
    return _first("released.binpb", HERE / "tests" / "contract", INSTALLED)


def _first(name: str, *folders: Path) -> Path:
    for folder in folders:
        if (folder / name).is_file():
            return folder / name
    raise ContractNotFoundError(f"no {name} in or beside {HERE}; install eventspine again")
