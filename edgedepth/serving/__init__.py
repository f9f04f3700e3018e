"""Model repositories of servers, made from bundles."""

from edgedepth.serving.repository import SERVERS, served_name, write_repository

__all__ = ["SERVERS", "served_name", "write_repository"]
