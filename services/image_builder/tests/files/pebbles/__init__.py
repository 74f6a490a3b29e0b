"""A project that is installed into an image."""

NAME = "pebbles"
