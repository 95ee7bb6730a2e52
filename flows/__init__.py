"""Thin Prefect flows: each task wraps one function of a package below and passes ids and paths."""
