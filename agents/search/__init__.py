"""Acting by search: no weight changes, a reward model is asked about several completions and one of them is taken."""
