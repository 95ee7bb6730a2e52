"""The life of an adapter: sealed bundle, registry, promotion, loading, hot swap."""
