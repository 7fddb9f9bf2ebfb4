"""A thin asyncio client over the generated stubs."""

from eventspine.client.client import Client
from eventspine.client.errors import CallError

__all__ = ["CallError", "Client"]
