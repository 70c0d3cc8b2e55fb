"""What came into a run of the judgements that were given elsewhere, and what did not."""

from dataclasses import asdict, dataclass

from reward_models.read_report import ReadReport


@dataclass(frozen=True)
class ImportReport:
    """What came into a run, and what did not."""

    read: ReadReport
    """The rows of the source; those that cannot be read are named there."""
    judgements: int
    """Answers that are in the run now and were not before."""
    known: int
    """Answers that were there already."""
    refused: tuple[tuple[str, int], ...]
    """Rows that were read and cannot be kept as answers: (why, rows)."""
    prompts: int
    comparisons: int
    raters: int
    train: int
    """Of all answers of the source, those that reward models are fitted to."""
    validation: int
    """Those that are held out."""
    repeats: int
    """Those of raters who had judged the same pair before; nothing is fitted to them."""

    def text(self) -> str:
        """For a person."""
        lines = [
            str(self.read),
            f"{self.judgements} judgements imported ({self.known} were there already): {self.comparisons} comparisons "
            f"of {self.prompts} prompts by {self.raters} raters; {self.train} to learn from, {self.validation} held "
            f"out{f' (repeats, left aside: {self.repeats})' if self.repeats else ''}.",
        ]
        return "\n".join([*lines, *(f"  {count} rows left out: {why}" for why, count in self.refused)])

    def to_json(self) -> dict[str, object]:
        """For a program."""
        return asdict(self)
