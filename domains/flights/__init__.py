"""The flights domain: departures from New York, from schedule to arrival."""
