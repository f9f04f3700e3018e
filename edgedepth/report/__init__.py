"""Reports and pictures for people. Nothing is built yet."""
