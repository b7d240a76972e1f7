"""Search by token vectors: probe centroids, generate candidates, interact with centroids, decode and score."""
