"""Reports and comparisons as people read them: in a terminal, as a page that stands alone."""
