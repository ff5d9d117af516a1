from tests.server.conftest import make

__all__ = ["make"]
