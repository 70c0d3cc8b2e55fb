// The card: what a key or a button does. A key shows the next comparison at once and leaves saving to the outbox; only
// the aids of a comparison come from the server, with the acknowledgement of the answer given alone.

const LONGEST_COMMENT = 5000;
const SIDES = ["left", "right", "tie", "both_bad", "cannot_tell", "skip"];

function tooLong(text) {
  const over = text.length - LONGEST_COMMENT;
  return over > 0 ? `The comment has ${over} characters too many; at most ${LONGEST_COMMENT} are stored. Shorten it.` : "";
}

class Card {
  constructor(root, me) {
    this.me = me;
    this.view = new View(root);
    this.hand = new Hand({
      me,
      isPending: (leaseId) => this.outbox.holds(leaseId),
      onCards: (pace) => this.onCards(pace),
      onLost: (leases) => this.onLost(leases),
    });
    this.outbox = new Outbox({
      me,
      tab: this.hand.tab,
      onSettled: (event, outcome) => this.onSettled(event, outcome),
      onChanged: () => this.view.showSaving(this.outbox),
    });
    this.panels = new Panels({ view: this.view, outbox: this.outbox, onChanged: (entry, id) => this.onChange(entry, id) });
    this.pace = { given: 0, needed: 0, mine_today: 0, median_seconds: null };
    this.answered = []; // what undo goes back through: the newest last
    this.shown = null; // lease and stage on the screen
    this.waiting = null; // id of the answer given alone whose aids are on their way
    this.marks = {};
    this.clock = new Clock();
    this.drafts = new Drafts(me);
    this.listen();
  }

  async start() {
    this.drafts.prune();
    this.outbox.start();
    // What an earlier load left unsent comes first, or the same comparisons would come back.
    await this.outbox.drained();
    await this.hand.start();
  }

  stop() {
    this.hand.stop();
    this.outbox.stop();
    this.listening.abort();
  }

  listen() {
    this.listening = new AbortController();
    const { signal } = this.listening;
    document.addEventListener("keydown", (event) => this.onKey(event), { signal });
    this.view.root.addEventListener("click", (event) => {
      const name = event.target.closest("[data-do]")?.dataset.do;
      if (name) this.act(name.replace("-strong", ""), name.endsWith("-strong") ? 2 : null);
    });
    for (const name of ["keydown", "pointerdown", "wheel"]) {
      document.addEventListener(name, () => (this.hand.active = Date.now()), { signal, passive: true });
    }
    window.addEventListener("pagehide", () => this.hand.leave(), { signal });
    window.addEventListener("pageshow", (event) => event.persisted && this.hand.claim(), { signal });
    this.view.parts.text.addEventListener("input", () => this.keepDraft());
    this.view.parts.text.addEventListener("keydown", (event) => {
      if (event.key === "Escape") this.view.button("comment").focus();
    });
  }

  onKey(event) {
    if (!this.view.root.isConnected) return this.stop();
    if (this.panels.isOpen()) return;
    const press = pressed(event);
    if (!press) return;
    event.preventDefault();
    this.act(press.name, press.strength);
  }

  act(name, strength = null) {
    if (SIDES.includes(name)) return this.answer(name, strength);
    if (name === "undo") return this.undo();
    if (name === "flag") return this.flag();
    if (name === "comment") return this.openComment();
    if (name === "guidelines") return this.panels.openGuidelines();
    if (name === "history") return this.panels.openHistory();
    if (name === "bring") return this.hand.bring();
    if (name === "who") return this.panels.openWho(this.answered.findLast((each) => each.final)?.card.lease_id);
  }

  answer(side, strength) {
    const card = this.hand.current();
    if (!card || !this.shown || this.waiting) return;
    const comment = this.view.parts.text.value;
    if (tooLong(comment)) {
      this.view.showProblem(tooLong(comment));
      return this.view.parts.text.focus();
    }
    const { stage } = this.shown;
    const body = {
      id: freshId(), lease_id: card.lease_id, stage, choice: side, comment,
      flagged: this.draft().flagged, shown_at: this.clock.shownAt, milliseconds: this.clock.milliseconds(),
      guidelines: card.guidelines,
    };
    if (strength) body.strength = strength;
    if (stage === "aided" && Object.keys(this.marks).length) body.aid_marks = { ...this.marks };
    const final = !card.aids_planned || stage === "aided" || side === "skip";
    this.answered.push({ card, stage, final, id: body.id, body, marks: this.marks });
    this.outbox.put("answer", body).counts = final ? 1 : 0;
    this.drafts.forget(card);
    if (final) this.countOne(1);
    if (!final) return this.awaitAids(body.id);
    this.hand.drop(card.lease_id);
    this.showCurrent();
  }

  undo() {
    const last = this.answered.pop();
    const id = freshId();
    if (!last) {
      // Nothing of this load is left: the server knows the answers before it.
      this.outbox.put("undo", { id });
      return;
    }
    this.outbox.put("undo", { id, judgement_id: last.id }).counts = last.final ? -1 : 0;
    if (last.final) this.countOne(-1);
    this.bringBack(last.card, last.stage, last.body, last.marks);
  }

  bringBack(card, stage, said, marks = {}) {
    this.waiting = null;
    this.hand.putFirst({ ...card, stage });
    this.drafts.keep(card, { comment: said.comment ?? "", flagged: Boolean(said.flagged) });
    this.marks = marks;
    this.showCurrent({ keepMarks: true });
    this.view.announce("Taken back: answer this comparison again.");
  }

  flag() {
    if (!this.shown) return;
    this.keepDraft(!this.draft().flagged);
    this.view.showFlag(this.draft().flagged);
  }

  openComment() {
    if (!this.shown) return;
    const { text, comment } = this.view.parts;
    const close = !comment.hidden && !text.value;
    this.view.showComment(text.value, !close);
    if (close) return;
    text.focus();
    text.scrollIntoView({ block: "nearest" });
  }

  showCurrent({ keepMarks = false } = {}) {
    const card = this.hand.current();
    this.waiting = null;
    if (!card) {
      this.shown = null;
      return this.view.showNothing(this.whyNothing(), this.hand.elsewhere);
    }
    if (!keepMarks) this.marks = {};
    this.shown = { lease: card.lease_id, stage: card.stage };
    this.view.showPlace(this.shown);
    this.clock.start();
    this.view.showCard(card, this.draft());
    this.view.showQuestion(question(card));
    if (card.stage === "aided") this.view.showAids(card, this.marks);
    this.view.announce(`Next: ${card.title}`);
  }

  awaitAids(id) {
    this.waiting = id;
    this.view.showQuestion({
      ask: "Your first answer is being saved.",
      hint: "What the assistant wrote comes with the acknowledgement.",
      waiting: true,
    });
    this.view.showComment("", false);
    this.view.showFlag(false);
  }

  showAids(card, aids) {
    const aided = { ...card, aids, stage: "aided" };
    this.hand.putFirst(aided);
    this.waiting = null;
    this.marks = {};
    this.shown = { lease: card.lease_id, stage: "aided" };
    this.view.showPlace(this.shown);
    this.clock.start();
    this.view.showAids(aided, this.marks);
    this.view.showQuestion(question(aided));
    this.view.toTop();
    this.view.announce("The aids are shown. Give your final answer.");
  }

  whyNothing() {
    if (this.hand.trouble?.kind === "unreachable") return "No comparison is left in this window and the server does not answer. It is asked again.";
    if (this.hand.trouble) return this.hand.trouble.message;
    return this.hand.empty ?? "Getting the next comparisons …";
  }

  onCards(pace) {
    if (pace) {
      this.pace = { ...pace };
      // What is on its way is counted here already.
      this.countOne(this.outbox.queue.reduce((sum, event) => sum + (event.counts ?? 0), 0));
    }
    if (!this.shown || this.hand.current()?.lease_id !== this.shown.lease) this.showCurrent();
  }

  onLost(leases) {
    const shown = this.shown && leases.includes(this.shown.lease);
    for (const lease of leases) this.hand.drop(lease);
    if (!shown) return;
    this.showCurrent();
    this.view.announce("The comparison before this one went elsewhere while this window slept.");
  }

  onSettled(event, outcome) {
    this.panels.onSettled(event, outcome);
    const mine = this.answered.find((each) => each.id === event.body.id);
    if (mine && outcome.judgement_id) mine.id = outcome.judgement_id;
    if (mine && !outcome.saved && this.waiting !== mine.id) this.answered.splice(this.answered.indexOf(mine), 1);
    if (event.kind === "answer" && this.waiting === event.body.id) this.onAloneSettled(outcome);
    else if (outcome.aids && !mine) this.hand.restore(event.body.lease_id); // sent by an earlier load of this tab
    if (event.kind === "undo" && !event.body.judgement_id) this.onUndone(outcome);
  }

  onAloneSettled(outcome) {
    const card = this.hand.current();
    if (outcome.saved) return this.showAids(card, outcome.aids ?? []);
    this.answered.pop();
    this.hand.drop(card.lease_id);
    this.showCurrent();
  }

  onUndone(outcome) {
    if (outcome.card) this.bringBack(outcome.card, outcome.card.stage, outcome.taken_back);
    else if (outcome.saved) this.view.announce("Your change was taken back; the answer before it counts again.");
  }

  onChange(entry, id) {
    // An undo of this answer now takes back the change first; what the server says then is shown.
    this.answered = this.answered.filter((each) => each.id !== entry.judgement_id && each.id !== id);
  }

  countOne(by) {
    this.pace.given += by;
    this.pace.mine_today += by;
    this.view.showPace(this.pace);
  }

  draft() {
    return this.drafts.of(this.hand.current());
  }

  keepDraft(flagged = this.draft().flagged) {
    const comment = this.view.parts.text.value;
    this.view.showProblem(tooLong(comment));
    this.drafts.keep(this.hand.current(), { comment, flagged });
  }
}

function question(card) {
  if (card.stage === "aided") {
    return { ask: "Final answer, with the aids: which one is better now?", hint: "", waiting: false };
  }
  if (card.aids_planned) {
    const hint = "Then you see what the assistant wrote, and answer once more.";
    return { ask: "First answer, on your own: which one is better?", hint, waiting: false };
  }
  return { ask: "Which one is better?", hint: "", waiting: false };
}

async function open(root) {
  const view = new View(root);
  for (const link of root.querySelectorAll("[data-room]")) link.href = `${ROOT}/${link.dataset.room}`;
  for (;;) {
    try {
      const me = await ask("/api/me");
      return await new Card(root, me).start();
    } catch (error) {
      if (!(error instanceof Trouble)) throw error;
      view.showNothing(`${error.message} The page asks again.`);
      await pause(2000);
    }
  }
}

open(element.querySelector('[data-part="label"]'));
