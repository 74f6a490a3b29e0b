"""The services. Each package says what it owns; `docs/architecture.md` shows how they fit together."""
