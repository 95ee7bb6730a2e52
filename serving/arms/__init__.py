"""Champion and challenger side by side: who gets which, and what their counts say at any moment one looks."""
