"""Adapters to frameworks, one module each. Each needs the extra of its name."""
