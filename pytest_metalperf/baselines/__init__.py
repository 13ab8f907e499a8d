"""Stored runs: their file, and every way to update it."""
