"""Hearing and speaking: voice activity, speech-to-text and text-to-speech engines."""
