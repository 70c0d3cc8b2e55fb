"""People: the command line, and what it shows while work goes on."""
