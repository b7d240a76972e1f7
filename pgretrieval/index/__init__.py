"""Indexing: ingest passages, train codebooks, compute codes, write codes and postings."""
