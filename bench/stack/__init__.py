"""The ratio suite on the real stack: real Cassandra, Kafka and Envoy, started for it."""
