"""The services wired into one process, and the `hangar` command."""
