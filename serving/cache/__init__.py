"""The semantic cache: same words, or same meaning with the same signature, in the same scope."""
