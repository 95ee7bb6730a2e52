"""Everything that runs while a caller is on the line, and what operators do to it."""
