"""Labels of the container images that the platform builds."""

IMAGE = "hangar.image"
"""Name of the image: digest of all that it is made of."""
DEFINITION = "hangar.definition"
"""Digest of the definition that it was made of first."""
SDK = "hangar.sdk"
"""Digest of the platform's SDK in it."""
