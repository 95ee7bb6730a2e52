"""The same objects behind HTTP."""
