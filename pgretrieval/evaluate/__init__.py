"""Evaluation of quality and speed: judgements, metrics, agreement with exact search, and times."""
