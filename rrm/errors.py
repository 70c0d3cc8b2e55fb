"""The branch of the exception tree that is about runs.

RrmError
└── RunError
    ├── RunMissing          there is no run in this folder
    ├── RunCorrupt          a file or row of the run is not what the run says it is
    ├── SchemaTooNew        the database was written by a newer version
    ├── RunBusy             another process works on this run
    ├── DiskFull            the disk (or quota) has no room left
    ├── NotAllowed          this person may not do that, or not now
    ├── Stopped             somebody asked the work to stop; it goes on from there when it is started again
    └── ConfigurationError  a setting is unknown or has an impossible value (also a ValueError)
"""

from reward_models.errors import RrmError


class RunError(RrmError):
    """Something about a run folder keeps a command from going on."""


class RunMissing(RunError):
    """There is no run in this folder."""


class RunCorrupt(RunError):
    """A file or row of the run is not what the run says it is."""


class SchemaTooNew(RunError):
    """The database was written by a newer version of this program."""


class RunBusy(RunError):
    """Another process works on this run."""


class DiskFull(RunError):
    """The disk (or quota) has no room left; what was committed before is safe."""


class NotAllowed(RunError):
    """This person may not do that, or not now."""


class Stopped(RunError):
    """Somebody asked the work to stop; nothing is wrong, and it goes on there when it is started again."""


class ConfigurationError(RunError, ValueError):
    """A setting is unknown or has an impossible value."""
