"""What the room Rounds shows, as HTML by part, from the ladder of a run."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from rrm.agent_words import agent_in_words
from rrm.config import AgentSection
from rrm.figures import as_page_svg
from rrm.ladder import ladder
from rrm.people.accounts import LOCAL, Person
from rrm.playing import agent_settings, training_has_begun
from rrm.rungs import OVER, Evidence, Ladder, LevelView, RoundState, RoundView
from rrm.sessions.records import SessionKind
from rrm.standing import artifact_id
from rrm.store.comparisons import raters
from rrm.watching.optimisation import Moment, moments
from rrm.watching.pictures import shares_by_name, training_curves
from rrm.watching.pictures_of_training import learning_figure
from rrm.watching.shares import Share
from ui.page.context import Page
from ui.page.rendering import NOTHING, percent, render

TONES = {
    RoundState.NOT_BEGUN: "",
    RoundState.READY: "running",
    RoundState.RUNNING: "running",
    RoundState.WAITS_FOR_JUDGEMENTS: "waiting",
    RoundState.WAITS_FOR_DECISION: "waiting",
    RoundState.PAUSED: "waiting",
    RoundState.INTERRUPTED: "bad",
    RoundState.FAILED: "bad",
    RoundState.PROMOTED: "good",
    RoundState.REFUSED: "",
}
STEP_TONES = {"done": "good", "running": "running", "failed": "bad", "begun": "waiting"}
DOES = {
    "sample": "The agent of the level writes completions for fresh documents.",
    "select": "Pairs of completions are chosen to be judged.",
    "assist": "The agent of the level below briefs the parts, as aids.",
    "judge": "Raters say which completion of a pair is better.",
    "fit": "An ensemble of reward models learns from the judgements.",
    "optimise": "An agent is trained on that reward, near the base.",
    "evaluate": "The new agent and the one before it write for the same fresh documents.",
    "assist-promotion": "Aids for these, too.",
    "judge-promotion": "Raters say which of the two completions is better.",
    "promote": "The wins are counted.",
}
"""The steps of a round, in a rater's words."""


@dataclass(frozen=True, slots=True)
class View:
    """Everything the room shows one person now; equal views look the same."""

    ladder: str
    now: str
    steps: str
    training: str
    decided: str
    place: tuple[int, int] | None
    """Level and number of the round that the buttons are about; None at the top."""
    start: str | None
    """Label of the button that starts, resumes or goes on; None where there is nothing to start."""
    pause: bool
    decide: bool
    beats: bool
    """Whether the evidence is clearly for the new agent."""
    choose: bool
    """Whether this person can still choose what the agent is trained with."""
    agent: AgentSection
    """What that is, as it was chosen last."""


def view(page: Page, person: Person) -> View:
    """The room as this person may see it."""
    found = ladder(page.run, page.config)
    current = found.current
    shown = current if current is not None else found.levels[-1].rounds[-1]
    state = current.state if current is not None else None
    agent = agent_settings(page.run, page.config, level=shown.level, round=shown.round)
    start = _start_label(current) if person.is_lead and not found.worked_on else None
    return View(
        ladder=_ladder(found),
        now=_now(found, current, person, agent),
        steps=render("rounds_steps.html", {"shown": shown, "does": DOES, "step_tones": STEP_TONES}),
        training=_training(page, found),
        decided=_decided(page, found),
        place=(current.level, current.round) if current is not None else None,
        start=start,
        pause=person.is_lead
        and found.session is not None
        and found.session.kind is SessionKind.ROUND
        and not found.session.stop_requested,
        beats=current is not None and current.evidence is not None and current.evidence.beats,
        decide=person.is_lead and state is RoundState.WAITS_FOR_DECISION,
        choose=start is not None and not training_has_begun(page.run, level=shown.level, round=shown.round),
        agent=agent,
    )


def _start_label(current: RoundView | None) -> str | None:
    match current.state if current is not None else None:
        case RoundState.READY:
            return "Go on" if current is not None and current.done else "Start the round"
        case RoundState.PAUSED | RoundState.INTERRUPTED | RoundState.FAILED:
            return "Resume"
        case _:
            return None


def _ladder(found: Ladder) -> str:
    data = {"ladder": found, "current": found.current, "tones": TONES, "words": _words}
    return render("rounds_ladder.html", data)


def _words(level: LevelView) -> str:
    """The state of a level; how many judgements it waits for is what people want to know."""
    missing = sum(one.missing for one in level.rounds)
    return f"waits for {missing} judgements" if level.state is RoundState.WAITS_FOR_JUDGEMENTS else level.state


def _now(found: Ladder, current: RoundView | None, person: Person, agent: AgentSection) -> str:
    deciding = current is not None and current.state is RoundState.WAITS_FOR_DECISION
    evidence = current.evidence if current is not None and deciding else None
    data = {
        "ladder": found,
        "current": current,
        "agent": agent_in_words(agent),
        "session": found.session,
        "stopping": found.session is not None and found.session.stop_requested,
        "person": person,
        "tones": TONES,
        "evidence": evidence,
        "evidence_words": _evidence_words(evidence) if evidence else "",
        "evidence_svg": _evidence_svg(evidence.new, evidence.wins) if evidence and evidence.wins else None,
    }
    return render("rounds_now.html", data)


def _evidence_words(evidence: Evidence) -> str:
    wins = evidence.wins
    if wins is None:
        return f"No held-out judgement counts, so nothing speaks for {evidence.new} yet."
    verdict = (
        "the whole interval lies above 50%, so it is clearly better"
        if evidence.beats
        else "the interval reaches down to 50% or below, so it is not clearly better"
    )
    return (
        f"{evidence.new} won {percent(wins.value)} of {wins.n} held-out judgements against {evidence.old} "
        f"(95% interval {percent(wins.low)} to {percent(wins.high)}): {verdict}. The decision cannot be taken back."
    )


@lru_cache(maxsize=4)
def _evidence_svg(new: str, wins: Share) -> str:
    said = f"Wins of {new}: {wins.value:.0%}, from {wins.low:.0%} to {wins.high:.0%}"
    return as_page_svg(shares_by_name([("wins", wins)], reference=0.5), description=said)


def _training(page: Page, found: Ladder) -> str:
    """The curve of the training that is at work, or was last."""
    trained = [
        one
        for level in found.levels
        for one in level.rounds
        if any(step.name == "optimise" and step.attempts for step in one.steps)
    ]
    points = moments(page.run, level=trained[-1].level, round=trained[-1].round) if trained else ()
    if len(points) < 2:
        return render("rounds_training.html", {"svg": None})
    agent = artifact_id("agent", trained[-1].level, trained[-1].round)
    # So many panels take half a second to draw: too long for a look every few seconds while it goes on.
    over = any(step.name == "optimise" and step.status == "done" for step in trained[-1].steps)
    data = {
        "svg": _training_svg(agent, points),
        "every": _learning_svg(agent, points) if over else None,
        "agent": agent,
        "moments": points,
    }
    return render("rounds_training.html", data)


@lru_cache(maxsize=4)
def _training_svg(agent: str, points: tuple[Moment, ...]) -> str:
    return as_page_svg(training_curves(points), description=f"Reward and KL of {agent} over {len(points)} steps")


@lru_cache(maxsize=4)
def _learning_svg(agent: str, points: tuple[Moment, ...]) -> str:
    return as_page_svg(learning_figure(points), description=f"Every figure of the training of {agent}, by step")


def _decided(page: Page, found: Ladder) -> str:
    names: Mapping[str, str] = {one.id: one.name for one in raters(page.run)} | {LOCAL.rater_id: LOCAL.name}
    decided = [one for level in found.levels for one in level.rounds if one.state in OVER]
    nobody = "held-out judgements" if page.config.rounds.promotion == "automatic" else NOTHING
    return render("rounds_decided.html", {"decided": decided, "names": names, "nobody": nobody, "tones": TONES})
