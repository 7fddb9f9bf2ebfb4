"""The domains that ship with the platform: protos plus pure functions."""
