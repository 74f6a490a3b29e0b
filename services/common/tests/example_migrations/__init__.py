"""Migrations for the tests of `services.common.db`."""
