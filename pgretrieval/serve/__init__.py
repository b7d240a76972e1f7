"""The HTTP service. Nothing outside `cli.serving` imports it; it needs the extra `serve`."""
