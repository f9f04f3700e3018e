"""The models' torch modules, their sizes, and how their weights are found and loaded."""
