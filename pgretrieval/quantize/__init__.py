"""Centroids, assignment and the residual codec: pure maths on arrays, no database and no models."""
