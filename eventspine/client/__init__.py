"""A thin asyncio client over the generated stubs."""
