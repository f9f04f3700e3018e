"""Stub."""
import argparse
__all__ = ["SUMMARY", "add_arguments", "run"]
SUMMARY = "x"
def add_arguments(parser: argparse.ArgumentParser) -> None:
    """x."""
def run(args: argparse.Namespace) -> int:
    """x."""
    return 0
