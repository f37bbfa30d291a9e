"""Many swaps in one process, or on many machines: job files, patterns, results that survive, engines."""
