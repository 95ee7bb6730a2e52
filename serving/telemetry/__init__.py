"""What is measured and logged: attribute names, metrics, structured logs, and redaction before any of it."""
