"""Backup and restore: segments with checksums, and a manifest that is written last."""
