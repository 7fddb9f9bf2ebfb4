"""Keys of rows as operators name them; promise: what is no key is refused by the field's name."""

import json

from google.protobuf.descriptor import FieldDescriptor

from eventspine.domain.declared import ViewDeclaration
from eventspine.domain.fold import check_key
from eventspine.domain.options import key_fields
from eventspine.rpc.errors import InvalidRequestError, Violation
from eventspine.storage.keys import encode_key
from processor_svc.rows import NO_KEY


def parsed(key_json: str) -> object:
    """Returns a key as JSON says it.

    Raises:
        InvalidRequestError: It is no JSON.
    """
    try:
        return json.loads(key_json)
    except (ValueError, RecursionError) as error:
        raise InvalidRequestError(
            Violation("key_json", f"is no JSON ({error}); send it as ListParked tells it")
        ) from error


def key_after(declaration: ViewDeclaration, after_key_json: str) -> bytes:
    """Returns the encoded key to go on behind; empty where none is named.

    Raises:
        InvalidRequestError: It is no key of the view.
    """
    if not after_key_json:
        return b""
    try:
        values = json.loads(after_key_json)
        if type(values) is not list:
            raise TypeError("it is no JSON list")
        key = tuple(
            bytes.fromhex(value) if field.type == FieldDescriptor.TYPE_BYTES else value
            for field, value in zip(key_fields(declaration.row.DESCRIPTOR), values, strict=True)
        )
        check_key(declaration.row, key)
    except (ValueError, TypeError, RecursionError) as error:
        raise InvalidRequestError(
            Violation(
                "after_key_json",
                f"is no key of {declaration.name} ({error}); send it as the last answer told it",
            )
        ) from error
    return encode_key(key)


def parked_after(declaration: ViewDeclaration, after_key_json: str) -> bytes:
    """Returns the same for parked keys, of which one is none: that of events without a key.

    Raises:
        InvalidRequestError: It is no key of the view.
    """
    return NO_KEY if after_key_json == "[]" else key_after(declaration, after_key_json)
