"""Environment variables that name the default database."""

URL_VARIABLE = "PGRETRIEVAL_DATABASE_URL"
DATA_DIR_VARIABLE = "PGRETRIEVAL_DATA_DIR"
