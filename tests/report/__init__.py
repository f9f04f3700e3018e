"""The report: a page of measured runs, made and looked at in a browser."""
