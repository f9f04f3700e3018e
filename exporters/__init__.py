"""From models to bundles, one file a target."""
