"""Two arms of one line: what their counts say, at any moment one looks."""
