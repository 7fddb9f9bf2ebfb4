"""Keyspaces for tests: one for a test file, and in it a tenant of its own for each test."""

import asyncio
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from eventspine.storage.cassandra.session import CassandraSession
from eventspine.storage.cassandra.store import CassandraStore
from eventspine.storage.stack import StackSettings


def settings_for(server: str) -> StackSettings:
    """Returns settings for a keyspace that does not exist yet."""
    return StackSettings(
        contact_points=(server,),
        keyspace=f"test_{secrets.token_hex(6)}",
        connect_timeout_seconds=60,
        request_timeout_seconds=30,
    )


@contextmanager
def new_keyspace(server: str, **changes: object) -> Iterator[StackSettings]:
    """Makes a keyspace with its tables, and drops it at the end."""
    settings = replace(settings_for(server), **changes)
    asyncio.run(_make(settings))
    yield settings
    asyncio.run(drop(settings))


def as_new_tenant(settings: StackSettings) -> StackSettings:
    """Returns settings for the same keyspace, in which nothing is there yet."""
    return replace(settings, tenant=secrets.token_hex(6))


async def drop(settings: StackSettings) -> None:
    """Drops a keyspace if there is one."""
    session = await CassandraSession.open(settings)
    try:
        await session.define(f'DROP KEYSPACE IF EXISTS "{settings.keyspace}"')
    finally:
        await session.close()


async def _make(settings: StackSettings) -> None:
    store = await CassandraStore.open(settings)
    await store.close()
