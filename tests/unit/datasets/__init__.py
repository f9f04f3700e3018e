"""The readers of data sets, on miniatures in their publishers' layouts."""
