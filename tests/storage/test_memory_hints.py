"""The memory backend against the suites of HintStore and AuditStore."""

import pytest

from eventspine.storage.memory.hints import MemoryAuditStore, MemoryHintStore
from tests.storage.hint_store_suite import AuditStoreSuite, HintStoreSuite


class TestMemoryHintStore(HintStoreSuite):
    @pytest.fixture
    def hints(self) -> MemoryHintStore:
        return MemoryHintStore()


class TestMemoryAuditStore(AuditStoreSuite):
    @pytest.fixture
    def audits(self) -> MemoryAuditStore:
        return MemoryAuditStore()
