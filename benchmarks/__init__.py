"""Hangar next to its peers, measured in one run by one protocol: `make bench`."""
