"""Pages for people, as HTML that needs no script and nothing from elsewhere."""
