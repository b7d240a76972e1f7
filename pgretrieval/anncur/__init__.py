"""Nearest neighbours for a cross-encoder (ANNCUR): factorise its scores, and search within a budget of its calls."""
