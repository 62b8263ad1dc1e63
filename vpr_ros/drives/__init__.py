"""Recorded drives in and out."""
