"""People: their accounts, who is signed in, and whose answers are left out of fits."""
