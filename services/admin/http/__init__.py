"""Admin's HTTP port: the pages of runs, the JSON that they show, and signed URLs of the blob store."""
