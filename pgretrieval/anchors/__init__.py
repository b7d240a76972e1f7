"""Nearest neighbours for a cross-encoder (ANNCUR): factorising its scores, and searching within a budget of its calls."""
