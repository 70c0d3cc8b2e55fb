"""Four comparisons to practise on, one for each thing that the guidelines ask for."""

from rrm.tasks.document import Document
from rrm.tasks.task import PracticeItem

_NIGHT = """Day 1, night shift.
#9 gas leak, tank 3. The control room was told by radio and wrote down the time and the names of everyone.
#10 greasing, conveyor 5. It was seen on the regular walk and passed on to the next crew in person.
#11 jam, press 2. Two people from the workshop came over and left again before the next break.
#12 painting, crane 1. Nobody else was in that part of the hall at the time."""

_EARLY = """Day 2, early shift.
#13 inspection, boiler 4. The supervisor came down in person and stayed until the end of the hour.
#14 oil leak, mixer 7. The crew on duty was there within a few minutes and the foreman signed the sheet.
#15 injury, kiln 6. A short report with three photographs went to the office.
#16 calibration, valve 2. The work order will be closed as soon as the papers are signed."""

PRACTICE = (
    PracticeItem(
        Document(id="practice-0", title="Day 1, night shift", text=_NIGHT),
        first="#9 gas leak\n#11 jam",
        second="#10 greasing\n#12 painting",
        answer="first",
        why="The left brief names the two events that matter. Greasing and painting are routine upkeep, worth nothing.",
    ),
    PracticeItem(
        Document(id="practice-1", title="Day 2, early shift", text=_EARLY),
        first="#14 fire\n#15 injury",
        second="#15 injury",
        answer="second",
        why="Entry 14 reports an oil leak, so the fire is invented, and that costs as much as two serious events are "
        "worth. Naming too little is better than sending people after nothing.",
    ),
    PracticeItem(
        Document(id="practice-2", title="Day 2, early shift", text=_EARLY),
        first="#14 oil leak",
        second="#15 injury",
        answer="second",
        why="Both briefs are true and name one event. An injury is grave, an oil leak only serious, and grave events "
        "matter three times as much.",
    ),
    PracticeItem(
        Document(id="practice-3", title="Day 1, night shift", text=_NIGHT),
        first="#9 gas leak\n#11 jam",
        second="#9 gas leak\n#10 greasing\n#11 jam\n#12 painting",
        answer="first",
        why="Both name the same two events. The right brief also has two lines of routine upkeep, and every line costs "
        "its reader a little.",
    ),
)
"""The left brief stands first here; practice shows them as they are."""
