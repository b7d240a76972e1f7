"""Published benchmarks: layouts of their files, where to download them, and the values that papers report."""
