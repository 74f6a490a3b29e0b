"""Talks to a backend: channels, retries, errors, the embedded backend. All input and output is on a thread of its own."""
