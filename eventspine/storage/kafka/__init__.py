"""The bus over Kafka. Imported only where it is used: its driver is an extra."""
