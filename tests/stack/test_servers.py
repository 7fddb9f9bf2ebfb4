"""Real servers: they answer, and they are told apart from others'."""

from devstack.stack.cql_probe import ask


async def test_a_node_and_a_broker_answer(cassandra: str, kafka: str) -> None:
    from confluent_kafka.admin import AdminClient

    host, _, port = cassandra.rpartition(":")
    assert await ask(host, int(port), "SELECT release_version FROM system.local")
    known = AdminClient({"bootstrap.servers": kafka}).list_topics(timeout=60)
    assert len(known.brokers) >= 1
