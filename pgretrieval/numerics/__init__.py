"""Arrays in, arrays out: k-means, the residual codec, MaxSim and learned proxies. No database and no models."""
