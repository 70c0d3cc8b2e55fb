"""The interface for programs, which the labeling card uses too: next, answer, undo, change, history, reveal, export.

Plain JSON over HTTP, by the cookie of the page or by HTTP Basic. Every event has an id chosen by the sender: the same
id again is the same event, so a program may send again whatever it does not know to be saved. A refusal is
`{"error": "a sentence"}`, and a refused answer stops no other of the same request.
"""

from collections.abc import Callable, Coroutine
from typing import Annotated, Any, Literal

import fastapi
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, StreamingResponse
from fastapi.routing import APIRoute
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints

from reward_models.errors import InvalidInput, RrmError
from rrm.errors import DiskFull, NotAllowed, RunBusy
from rrm.judging.answering import Outcome
from rrm.judging.cards import Card
from rrm.judging.desk import MOST_CARDS, Desk
from rrm.judging.details import GivenAnswer, GivenChange
from rrm.judging.export import export_lines
from rrm.judging.guidelines import guidelines_now
from rrm.judging.history import Entry
from rrm.judging.pace import Pace
from rrm.judging.reveals import Revealed
from rrm.judging.sides import Side
from rrm.people.accounts import Role, require_lead
from rrm.store import Stage, get_value, utc_now
from rrm.store.canonical import derived_id
from ui.page.context import Page
from ui.page.signing_in import NotSignedIn

EventId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{8,64}$")]
Name = Annotated[str, StringConstraints(max_length=200)]
Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
# A comment that is too long is refused by itself and kept by the page; only what no page sends is refused as a whole.
Comment = Annotated[str, StringConstraints(max_length=200_000)]
Strength = Literal[1, 2]
Position = Annotated[int, Field(ge=0, lt=2**63)]
Milliseconds = Annotated[int, Field(ge=0, le=7 * 24 * 3600 * 1000)]


class OtherPerson(NotSignedIn):
    """Somebody else is signed in than the one whose events these are."""


_STATUS: tuple[tuple[type[RrmError], int], ...] = (
    (OtherPerson, 409),
    (NotSignedIn, 401),
    (NotAllowed, 403),
    (InvalidInput, 400),
    (RunBusy, 503),
    (DiskFull, 507),
)


class Body(BaseModel):
    """What all requests have in common."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    tab: Name = ""
    """Names the window or program; what one holds is not given to another."""
    rater_id: Name | None = None
    """Whose events these are; refused when somebody else is signed in now."""


class NextBody(Body):
    """Renews what the tab holds and asks for further cards."""

    count: int = Field(default=1, ge=0, le=MOST_CARDS)
    holding: list[Name] = Field(default=[], max_length=100)
    """Leases that the tab holds and has not answered: asking is the sign of life that keeps them."""
    restore: bool = False
    """Whether the cards of these leases are wanted again."""
    take_over: bool = False
    """Whether to get what other tabs of the same rater hold."""
    since: AwareDatetime | None = None
    """When the rater's day began; None: midnight UTC."""


class AnswerBody(BaseModel):
    """One answer."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    id: EventId
    lease_id: Name
    stage: Stage = Stage.ALONE
    choice: Side
    strength: Strength | None = None
    comment: Comment = ""
    flagged: bool = False
    aid_marks: dict[Name, Literal["valid", "invalid"]] = Field(default={}, max_length=200)
    shown_at: AwareDatetime | None = None
    milliseconds: Milliseconds | None = None
    guidelines: Digest | None = None

    def given(self) -> GivenAnswer:
        """The same for the desk."""
        return GivenAnswer(
            id=self.id,
            lease_id=self.lease_id,
            stage=self.stage,
            side=self.choice,
            strength=self.strength,
            comment=self.comment,
            flagged=self.flagged,
            aid_marks=dict(self.aid_marks),
            shown_at=self.shown_at.isoformat() if self.shown_at else None,
            milliseconds=self.milliseconds,
            guidelines=self.guidelines,
        )


class AnswersBody(Body):
    """Answers, stored in this order."""

    answers: list[AnswerBody] = Field(max_length=100)


class UndoBody(Body):
    """Takes back the last answer that counts, or the one named."""

    id: EventId
    judgement_id: Name | None = None


class ChangeBody(Body):
    """Another answer instead of one from the history."""

    id: EventId
    judgement_id: Name
    choice: Side
    strength: Strength | None = None
    comment: Comment = ""
    flagged: bool = False

    def given(self) -> GivenChange:
        """The same for the desk."""
        return GivenChange(
            id=self.id,
            judgement_id=self.judgement_id,
            side=self.choice,
            strength=self.strength,
            comment=self.comment,
            flagged=self.flagged,
        )


class RevealBody(Body):
    """Asks who wrote what, after the final answer."""

    lease_id: Name


class Me(BaseModel):
    """Who is asking, and which run this is."""

    run: str
    rater_id: str
    name: str
    role: Role


class NextReply(BaseModel):
    """Cards and how far the judging has come."""

    cards: list[Card]
    lost: list[str]
    """Leases of `holding` that the tab holds no longer."""
    progress: Pace
    empty: str | None
    """Where cards were asked for and none is left: why, and what to do."""
    elsewhere: bool
    """Whether another tab of the same rater holds what is left."""


class Outcomes(BaseModel):
    """What became of each answer, in the order sent."""

    answers: list[Outcome]


class History(BaseModel):
    """Final answers, newest first."""

    entries: list[Entry]


class GuidelinesReply(BaseModel):
    """The guidelines that hold now, in Markdown."""

    text: str
    sha256: str


class FriendlyRoute(APIRoute):
    """Says in one sentence what is wrong with a request."""

    def get_route_handler(self) -> Callable[[fastapi.Request], Coroutine[Any, Any, fastapi.Response]]:
        """The handler, with refusals as JSON."""
        handle = super().get_route_handler()

        async def handle_kindly(request: fastapi.Request) -> fastapi.Response:
            try:
                return await handle(request)
            except RequestValidationError as error:
                return _refusal(_what_is_wrong(error), 422)
            except RrmError as error:
                return _refusal(str(error), next((code for kind, code in _STATUS if isinstance(error, kind)), 500))

        return handle_kindly


def router(page: Page) -> fastapi.APIRouter:
    """The paths under `/api/`."""
    made = fastapi.APIRouter(prefix="/api", route_class=FriendlyRoute)
    _add_judging(made, page)
    _add_looking(made, page)
    return made


def _add_judging(made: fastapi.APIRouter, page: Page) -> None:
    @made.post("/next")
    def next_cards(request: fastapi.Request, body: NextBody) -> NextReply:
        """Renew what this tab holds, and draw further comparisons."""
        desk, now = _desk(page, request, body), utc_now()
        found = desk.next_cards(
            count=body.count, holding=body.holding, restore=body.restore, take_over=body.take_over, now=now
        )
        since = body.since.isoformat() if body.since else f"{now[:10]}T00:00:00Z"
        return NextReply(
            cards=list(found.cards),
            lost=list(found.lost),
            progress=desk.pace(since=since),
            empty=found.empty,
            elsewhere=found.elsewhere,
        )

    @made.post("/answer")
    def answer(request: fastapi.Request, body: AnswersBody) -> Outcomes:
        """Store answers; what comes back as saved is on disk."""
        given = [each.given() for each in body.answers]
        return Outcomes(answers=_desk(page, request, body).answer(given, now=utc_now()))

    @made.post("/undo")
    def undo(request: fastapi.Request, body: UndoBody) -> Outcome:
        """Take back an answer, without limit; the comparison comes back as a card."""
        return _desk(page, request, body).undo(undo_id=body.id, judgement_id=body.judgement_id, now=utc_now())

    @made.post("/change")
    def change(request: fastapi.Request, body: ChangeBody) -> Outcome:
        """Replace an answer; the earlier one stays in the record and no longer counts."""
        return _desk(page, request, body).change(body.given(), now=utc_now())

    @made.post("/reveal")
    def reveal(request: fastapi.Request, body: RevealBody) -> Revealed:
        """Who wrote what, after the final answer; later answers to it are kept as unblinded."""
        return _desk(page, request, body).reveal(body.lease_id, now=utc_now())


def _add_looking(made: fastapi.APIRouter, page: Page) -> None:
    @made.get("/me")
    def me(request: fastapi.Request) -> Me:
        """Who is asking, and which run this is."""
        person = page.person(request)
        name = derived_id("run", page.run.seed, str(get_value(page.run, "created_at")))
        return Me(run=name, rater_id=person.rater_id, name=person.name, role=person.role)

    @made.get("/card")
    def card(request: fastapi.Request, lease_id: Name) -> Card:
        """The card of a comparison that was given to whoever asks."""
        return _desk(page, request, Body()).card(lease_id)

    @made.get("/history")
    def history(
        request: fastapi.Request,
        before: Position | None = None,
        count: Annotated[int, fastapi.Query(ge=1, le=100)] = 20,
    ) -> History:
        """The final answers of whoever asks, newest first; `before` is the position of the last entry so far."""
        return History(entries=_desk(page, request, Body()).history(before=before, count=count))

    @made.get("/guidelines")
    def guidelines(request: fastapi.Request) -> GuidelinesReply:
        """The guidelines that hold now."""
        page.person(request)
        found = guidelines_now(page.run, page.task)
        return GuidelinesReply(text=found.text, sha256=found.sha256)

    @made.get("/export", response_class=StreamingResponse)
    def export(request: fastapi.Request, format: Literal["jsonl"] = "jsonl") -> StreamingResponse:
        """All judgements with their texts, one JSON object a line; for leads."""
        require_lead(page.person(request), "export the judgements")
        headers = {"Content-Disposition": f'attachment; filename="judgements.{format}"'}
        return StreamingResponse(export_lines(page.run), media_type="application/x-ndjson", headers=headers)


def _desk(page: Page, request: fastapi.Request, body: Body) -> Desk:
    person = page.person(request)
    if body.rater_id is not None and body.rater_id != person.rater_id:
        raise OtherPerson(f"{person.name} is signed in now, and this belongs to somebody else; sign in as them again")
    return Desk(run=page.run, task=page.task, config=page.config, person=person, tab=body.tab)


def _refusal(sentence: str, status: int) -> JSONResponse:
    text = f"{sentence[:1].upper()}{sentence[1:]}"
    return JSONResponse({"error": text if text.endswith((".", "!", "?")) else f"{text}."}, status_code=status)


def _what_is_wrong(error: RequestValidationError) -> str:
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"] if part != "body") or "the body"
    return f"{place} cannot be used: {first['msg'][:200]}; the interface is described in /openapi.json"
