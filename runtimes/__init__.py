"""Sessions: one file a backend, one contract for all."""
