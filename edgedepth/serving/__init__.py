"""Model repositories of servers, made from bundles."""

from edgedepth.serving.repository import SERVERS, write_repository

__all__ = ["SERVERS", "write_repository"]
