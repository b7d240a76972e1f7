"""Learned proxies: one vector per passage whose inner product predicts MaxSim (LEMUR, 2601.21853). Pure maths on arrays."""
