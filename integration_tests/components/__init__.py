"""Real components for tests: a Docker engine, PostgreSQL, an S3 store, several hosts. Started when first asked for."""
