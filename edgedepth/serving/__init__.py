"""Model repositories of servers, made from bundles."""

from edgedepth.serving.repository import SERVERS, Server, check_served_target, write_repository

__all__ = ["SERVERS", "Server", "check_served_target", "write_repository"]
