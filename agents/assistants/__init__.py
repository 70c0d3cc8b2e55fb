"""Agents put to work for a rater: each file is one way to help."""
