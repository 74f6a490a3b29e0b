"""Generated stubs of the wire API: `make protos`."""
