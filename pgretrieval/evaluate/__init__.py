"""How good and how fast answers are: judgements, metrics, agreement with exact search, and times."""
