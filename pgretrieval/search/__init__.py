"""From a query's token vectors to hits: probe, collect candidates, interact with centroids, decode and score, show."""
