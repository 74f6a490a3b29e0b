"""Packs the code that a run needs into one archive, identified by its content."""
