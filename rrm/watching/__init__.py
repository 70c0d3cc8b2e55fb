"""Figures of a run for people: is the judging good, are the rewards true, what did it cost.

One idea a file, each a function of the store; `rooms` puts them together for the page. Like a report, this may read the
gold utility; nothing that a run decides reads anything from here.
"""
