"""What machine measurements are taken on, and how it fares meanwhile: one module a source, parsers apart from I/O."""
