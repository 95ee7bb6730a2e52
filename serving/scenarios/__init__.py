"""Scenario testing in the browser: scripts and free turns through the real loop, every step shown."""
