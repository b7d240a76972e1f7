"""Late-interaction scores: pure maths on arrays, no database and no models."""
