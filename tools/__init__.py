"""Tools of this repository: they run in `make` targets and are no part of the product."""
