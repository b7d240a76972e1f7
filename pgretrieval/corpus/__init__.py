"""Passages and queries from files and from the Python standard library, checked before they are stored."""
