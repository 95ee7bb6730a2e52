"""The tools that a call may use: loan payment, payment plan, compliance texts, and their executor."""
