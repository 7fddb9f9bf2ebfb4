"""What the driver's errors mean, each of them."""

import pytest
from cassandra import (
    ConsistencyLevel,
    InvalidRequest,
    OperationTimedOut,
    ReadTimeout,
    Unauthorized,
    Unavailable,
    WriteFailure,
    WriteTimeout,
    WriteType,
)
from cassandra.cluster import NoHostAvailable
from cassandra.connection import ConnectionShutdown
from cassandra.protocol import (
    ErrorMessage,
    IsBootstrappingErrorMessage,
    OverloadedErrorMessage,
    ServerError,
    SyntaxException,
)

from eventspine.storage.cassandra.cluster import connect
from eventspine.storage.cassandra.failures import (
    CAS_WRITE_UNKNOWN,
    StatementRefusedError,
    read_error,
    write_error,
)
from eventspine.storage.errors import OutcomeUnknownError, StackSetupError, StoreUnavailableError
from eventspine.storage.stack import StackSettings, Tls

CERTAIN = [
    NoHostAvailable("none", {"127.0.0.1:9042": ConnectionShutdown("marked as down")}),
    Unavailable("too few", consistency=ConsistencyLevel.SERIAL, required_replicas=2),
    Unavailable("too few", consistency=ConsistencyLevel.LOCAL_SERIAL, required_replicas=2),
    IsBootstrappingErrorMessage(0x1002, "booting", None),
    Unauthorized("no MODIFY"),
]
UNCERTAIN = [
    OperationTimedOut(),
    ConnectionShutdown("closed"),
    WriteTimeout("slow", write_type=WriteType.CAS),
    WriteTimeout("slow", write_type=WriteType.SIMPLE),
    WriteFailure("broken", write_type=WriteType.CAS),
    ReadTimeout("slow", consistency=ConsistencyLevel.SERIAL),
    OverloadedErrorMessage(0x1001, "busy", None),
    ServerError(0x0000, "oops", None),
    ErrorMessage(CAS_WRITE_UNKNOWN, "unknown", None),
    RuntimeError("a reply that cannot be decoded"),
]
REFUSED = [InvalidRequest("no such table"), SyntaxException(0x2000, "SELEKT", None)]


def words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


@pytest.mark.parametrize("error", CERTAIN, ids=words)
def test_what_stopped_before_it_was_carried_out_has_stored_nothing(error: Exception) -> None:
    assert type(write_error(error, conditional=True)) is StoreUnavailableError
    assert type(write_error(error, conditional=False)) is StoreUnavailableError


@pytest.mark.parametrize("error", UNCERTAIN, ids=words)
def test_what_may_have_been_carried_out_is_unknown(error: Exception) -> None:
    assert type(write_error(error, conditional=True)) is OutcomeUnknownError
    assert type(write_error(error, conditional=False)) is OutcomeUnknownError


def test_too_few_replicas_for_a_commit_is_unknown_and_for_a_plain_write_it_is_not() -> None:
    error = Unavailable("too few", consistency=ConsistencyLevel.QUORUM, required_replicas=2)
    assert type(write_error(error, conditional=True)) is OutcomeUnknownError
    assert type(write_error(error, conditional=False)) is StoreUnavailableError


@pytest.mark.parametrize("error", REFUSED, ids=words)
def test_a_statement_that_is_wrong_is_told_apart_from_a_store_that_cannot(
    error: Exception,
) -> None:
    assert type(read_error(error)) is StatementRefusedError
    assert type(write_error(error, conditional=True)) is StatementRefusedError


@pytest.mark.parametrize("error", [*CERTAIN, *UNCERTAIN], ids=words)
def test_a_read_that_fails_has_changed_nothing(error: Exception) -> None:
    failure = read_error(error)
    assert type(failure) is StoreUnavailableError
    assert failure.metadata["cause"]


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        (StackSettings(contact_points=("127.0.0.1:1",)), "cannot be reached at 127.0.0.1:1"),
        (StackSettings(contact_points=("nowhere.invalid",)), "has an address"),
        (StackSettings(contact_points=("127.0.0.1:x",)), "not host or host:port"),
        (StackSettings(contact_points=("",)), "not host or host:port"),
        (StackSettings(cassandra_tls=Tls(ca_file="nowhere.pem")), "TLS files"),
        (StackSettings(consistency="ONE"), "QUORUM or LOCAL_QUORUM"),
    ],
)
async def test_a_cluster_that_cannot_be_used_is_named_with_the_cure(
    settings: StackSettings, text: str
) -> None:
    with pytest.raises(StackSetupError, match=text):
        await connect(settings)
