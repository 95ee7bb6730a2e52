"""A real Redis for the tests that need one."""

from tests.serving.sessions.conftest import doomed_redis, namespace, redis_server

__all__ = ["doomed_redis", "namespace", "redis_server"]
