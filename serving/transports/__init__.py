"""Callers: WAV files, typed text, scripts whose voice is synthesised."""
