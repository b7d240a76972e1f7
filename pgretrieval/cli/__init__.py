"""The command line: parses, wires the parts, prints. Results go to standard output, progress and errors to standard error."""
