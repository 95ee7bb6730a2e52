"""Judgement: pure functions from numbers and records to verdicts, and their reports."""
