"""Scripts that run inside images while they are built, with the image's own Python and nothing else."""
