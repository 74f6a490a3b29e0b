"""``python -m services.embedded`` is the ``hangar`` command."""

from services.embedded.cli import main

if __name__ == "__main__":
    main()
