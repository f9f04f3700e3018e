"""Training of the demonstration models. Nothing is built yet."""
