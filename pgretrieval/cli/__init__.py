"""Command line: parse arguments, connect the parts, print. Results go to standard output, progress and errors to standard error."""
