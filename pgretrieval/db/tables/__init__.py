"""The tables of the schema, one module each: rows in and out by binary COPY, and the statements that search them."""
