"""Judging: comparisons are leased to people and simulated raters, who answer alone and then with aids."""
