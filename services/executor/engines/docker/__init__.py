"""Runs workers as Docker containers, each labelled, hardened, limited, and found again after a restart."""
