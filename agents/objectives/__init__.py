"""What a policy maximises, one objective a file; each opens with its equation and its source."""
