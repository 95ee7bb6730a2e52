"""Claims about behaviour. A real package: a dependency of chainlit installs a `tests` of its own."""
