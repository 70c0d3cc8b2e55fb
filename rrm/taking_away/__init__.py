"""A run taken away: its judgements, models and database in the formats that other tools read."""
