"""Tests of kills and restarts, repeated with every service a process of its own, on PostgreSQL."""
