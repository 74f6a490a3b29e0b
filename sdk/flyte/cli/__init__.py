"""The `flyte` command."""
