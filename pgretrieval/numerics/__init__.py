"""Numerics on arrays: k-means, residual codec, MaxSim and learned proxies. No database and no models."""
