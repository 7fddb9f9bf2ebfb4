"""The conformance kit: what the contract promises, asked of whatever answers at an address."""
