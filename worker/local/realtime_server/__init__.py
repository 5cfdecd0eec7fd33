from worker.local.realtime_server.server import main

__all__ = ["main"]
