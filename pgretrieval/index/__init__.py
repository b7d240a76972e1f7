"""From passages to rows: take in, train, code, and write codes and postings."""
