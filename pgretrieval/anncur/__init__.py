"""Approximate nearest neighbours for a cross-encoder (ANNCUR): factorise its scores, then search within a call budget."""
