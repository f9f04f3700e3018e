"""Relative models and RSA from weights to metres, on miniatures of the published topologies."""
