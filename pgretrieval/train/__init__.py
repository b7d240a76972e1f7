"""Training of late-interaction models and cross-encoders: data, losses, runs. Importing this package loads no model library."""
