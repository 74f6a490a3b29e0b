"""Engines run workers: one interface (`base`), one conformance suite, several implementations."""
