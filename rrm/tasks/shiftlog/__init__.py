"""The embedded task: shift logs of a plant, briefed at three heights."""
