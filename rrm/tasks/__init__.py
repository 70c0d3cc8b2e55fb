"""What agents work on: documents as trees of text, and the tasks that brief them."""
