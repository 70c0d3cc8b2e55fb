"""One's own texts: read from whatever holds them, cut into trees of parts, divided into splits, and kept."""
