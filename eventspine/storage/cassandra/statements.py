"""Statements as they go over the wire; promise: values are encoded once, by ready encoders.

The driver's bound statements cost as much as all the rest of a request. A statement is prepared by
the driver; from what it learns, the encoders of the values are chosen once.
"""

import struct
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from cassandra.cqltypes import BytesType, Int32Type, LongType, UTF8Type, VarcharType
from cassandra.protocol import BatchMessage, ExecuteMessage
from cassandra.query import BatchType, PreparedStatement

Part = tuple[str, Sequence[Any]]
"""A statement: its CQL with question marks, and the values for these in order."""

Encode = Callable[[Any], bytes]


class Prepared:
    """A prepared statement.

    Attributes:
        result_metadata: The columns of its result, as the driver has them; None if they vary.
    """

    def __init__(self, prepared: PreparedStatement) -> None:
        """Takes over what the driver has learned."""
        self._id = prepared.query_id
        self._result_id = prepared.result_metadata_id
        self._encoders = [
            _encoder(column.type, prepared.protocol_version) for column in prepared.column_metadata
        ]
        self._key_indexes: list[int] = prepared.routing_key_indexes or []
        self.result_metadata = prepared.result_metadata

    def encode(self, values: Sequence[Any]) -> list[bytes | None]:
        """Encodes the values of the question marks, one for each."""
        return [
            None if value is None else encode(value)
            for encode, value in zip(self._encoders, values, strict=True)
        ]

    def in_batch(self, values: Sequence[Any]) -> tuple[bool, bytes, list[bytes | None]]:
        """Returns the statement as a part of a `BatchMessage`."""
        return True, self._id, self.encode(values)

    def message(
        self,
        values: Sequence[Any],
        consistencies: tuple[int, int],
        *,
        page_rows: int | None = None,
        paging_state: bytes | None = None,
    ) -> ExecuteMessage:
        """Returns the statement as a message of its own."""
        return ExecuteMessage(
            self._id,
            self.encode(values),
            *consistencies,
            fetch_size=page_rows,
            paging_state=paging_state,
            skip_meta=bool(self.result_metadata),
            result_metadata_id=self._result_id,
        )

    def routing_key(self, values: Sequence[Any]) -> bytes | None:
        """Returns the encoded partition key; None if the statement does not give all of it."""
        parts = [self._encoders[index](values[index]) for index in self._key_indexes]
        if len(parts) < 2:
            return parts[0] if parts else None
        return b"".join(struct.pack(f">H{len(part)}sB", len(part), part, 0) for part in parts)


def batch_message(
    parts: Sequence[tuple[Prepared, Sequence[Any]]], consistencies: tuple[int, int]
) -> BatchMessage:
    """Returns statements as one message; they have to be of one partition."""
    queries = [prepared.in_batch(values) for prepared, values in parts]
    return BatchMessage(BatchType.UNLOGGED, queries, *consistencies)


def _encoder(kind: Any, protocol_version: int) -> Encode:
    """Returns what encodes values of a CQL type."""
    quick: dict[Any, Encode] = {
        UTF8Type: str.encode,
        VarcharType: str.encode,
        BytesType: bytes,
        LongType: struct.Struct(">q").pack,
        Int32Type: struct.Struct(">i").pack,
    }
    return quick.get(kind) or partial(_slowly, kind, protocol_version)


def _slowly(kind: Any, protocol_version: int, value: Any) -> bytes:
    encoded: bytes = kind.serialize(value, protocol_version)
    return encoded
