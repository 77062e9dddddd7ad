"""Published benchmarks: their files, and the protocols that score them."""
