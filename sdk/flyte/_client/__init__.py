"""Talks to a backend, on a thread of its own: channels, retries, errors, the embedded backend."""
