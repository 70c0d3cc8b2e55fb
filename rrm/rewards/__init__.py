"""The reward models of a run, whatever their members are: read, fitted, saved, and asked for scores.

A head reads what the base policy makes of a completion anyway; adapters and whole models read its text. Who uses a
reward model (a round, a session, one's own text) asks here and need not know which it is.
"""
