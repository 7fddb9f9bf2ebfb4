"""The ports on Apache Cassandra; the driver is imported in this folder only."""
