"""The recursion: tasks, the run's store, judging, rounds, studies and reports; knows nothing of the page."""
