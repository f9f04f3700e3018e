"""debug_bundle."""
