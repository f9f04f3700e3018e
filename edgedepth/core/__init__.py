"""Plain data: specs, errors, bundles, the session protocol. No framework is imported here."""
