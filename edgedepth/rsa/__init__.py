"""RSA on data sets with captions: heads fitted, and the tables of its paper."""
