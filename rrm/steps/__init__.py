"""The steps of a round, one file each: sample, select, assist, judge, fit, optimise, evaluate, promote."""
