"""The embedded Postgres: one server a data directory, shared by every process that opens the directory.

It runs until the last of them closes it. What a killed process leaves behind (a running server, a stale pid file, a half-made
directory) is taken over or cleared away at the next start. Only the programs come from a package; how they are run is ours.
"""

from pgretrieval.db.embedded.cluster import recommended_settings
from pgretrieval.db.embedded.server import EmbeddedServer, default_data_dir, open_server

__all__ = ["EmbeddedServer", "default_data_dir", "open_server", "recommended_settings"]
