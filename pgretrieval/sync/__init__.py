"""Attached collections: installation of triggers, and workers that process their queues."""
