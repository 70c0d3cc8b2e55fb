"""A run's reward model for other trainers: as a function, and as what a server answers with."""
