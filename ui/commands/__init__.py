"""The commands of `rrm`, one idea a file; each handler calls one function of `rrm` and shows what it returns."""
