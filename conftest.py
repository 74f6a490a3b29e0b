"""What every test of the repository shares: nothing yet but the place."""
