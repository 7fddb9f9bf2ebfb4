"""Real servers without containers: Cassandra, Kafka and the services as children of one process."""
