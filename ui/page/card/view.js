// Showing: all text goes through textContent, so whatever a model or a person wrote is shown and never run.

const WORDS = {
  left: "Left is better",
  right: "Right is better",
  tie: "Tie",
  both_bad: "Both bad",
  cannot_tell: "Can’t tell",
  skip: "Skipped",
};

function el(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) continue;
    made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

// Line by line, each in its own direction, so that a right-to-left line does not turn the others around.
function linesOf(text) {
  const lines = text.replace(/\n+$/, "").split("\n");
  if (lines.length === 1 && !lines[0]) return [el("div", { class: "line muted" }, "(nothing was written)")];
  return lines.map((line) => el("div", { class: "line", dir: "auto" }, line));
}

function answerWords(side, strength) {
  return strength === 2 ? WORDS[side].replace("is better", "is clearly better") : WORDS[side];
}

class View {
  constructor(root) {
    this.root = root;
    this.parts = Object.fromEntries([...root.querySelectorAll("[data-part]")].map((part) => [part.dataset.part, part]));
  }

  button(name) {
    return this.root.querySelector(`.answerbar [data-do="${name}"]`);
  }

  // Which comparison is on the screen, and which of its answers is asked: for scripts that watch the page.
  showPlace({ lease, stage }) {
    Object.assign(this.parts.work.dataset, { lease, stage });
  }

  showCard(card, { flagged, comment }) {
    const { work, empty, title, source, left, right } = this.parts;
    empty.hidden = true;
    work.hidden = false;
    work.dataset.lease = card.lease_id;
    title.textContent = card.title;
    source.replaceChildren(...linesOf(card.source));
    left.replaceChildren(...linesOf(card.left));
    right.replaceChildren(...linesOf(card.right));
    this.showAids(card, null);
    this.showFlag(flagged);
    this.showComment(comment, Boolean(comment));
    source.scrollTop = 0;
    this.toTop();
  }

  // The top of the card, below the header of the page if that was scrolled away already.
  toTop() {
    const top = this.root.getBoundingClientRect().top;
    if (top < 0) window.scrollBy({ top, behavior: "instant" });
  }

  showNothing(why, elsewhere = false) {
    this.parts.work.hidden = true;
    delete this.parts.work.dataset.lease;
    this.parts.empty.hidden = false;
    this.parts.why.textContent = why;
    this.parts.bring.hidden = !elsewhere;
  }

  showQuestion({ ask: question, hint, waiting }) {
    this.parts.ask.textContent = question;
    this.parts.hint.textContent = hint;
    for (const button of this.root.querySelectorAll('.answerbar .answers button, .answerbar [data-do="skip"]')) {
      button.setAttribute("aria-disabled", String(waiting)); // not disabled: that would drop the focus
    }
  }

  showAids(card, marks) {
    const { aids, aidlist, checked, material, source } = this.parts;
    const shown = marks !== null && card.aids !== null;
    aids.hidden = !shown;
    material.classList.toggle("aided", shown);
    const lines = source.children;
    for (const line of lines) line.classList.remove("cited", "looked");
    aidlist.replaceChildren();
    if (!shown) return;
    // Of a text that no program can read, nothing is checked, and nobody should think that it was.
    checked.hidden = !card.aids.some((aid) => aid.lines.some((line) => line.verified !== null));
    for (const aid of card.aids) {
      for (const line of aid.lines) line.source_lines.forEach((place) => lines[place]?.classList.add("cited"));
      aidlist.append(this.aid(aid, marks));
    }
    if (!card.aids.length) aidlist.append(el("p", { class: "muted" }, "The assistant has nothing to say about this one."));
    aidlist.scrollTop = 0;
  }

  // With marks the rater can say whether an aid is right; without, it is only shown.
  aid(aid, marks) {
    const heading = el("h3", { class: "text", dir: "auto" }, aid.about || "About the whole");
    const lines = aid.lines.map((line) => this.quote(line, marks !== null));
    return el("section", { class: "aid", "data-aid": aid.key }, heading, ...lines, marks && this.checks(aid, marks));
  }

  checks(aid, marks) {
    const group = el("div", { class: "marks", role: "group", "aria-label": `Your check of this aid: ${aid.about}` });
    for (const mark of ["valid", "invalid"]) {
      const pressed = marks[aid.key] === mark;
      const button = el("button", { type: "button", class: "quiet", "aria-pressed": String(pressed) }, mark);
      button.addEventListener("click", () => {
        if (marks[aid.key] === mark) delete marks[aid.key];
        else marks[aid.key] = mark;
        for (const each of group.children) each.setAttribute("aria-pressed", String(marks[aid.key] === each.textContent));
      });
      group.append(button);
    }
    return group;
  }

  quote(line, canJump) {
    const row = el("div", { class: "quote" }, el("div", { class: "line", dir: "auto" }, line.text));
    if (line.verified !== null) {
      const words = line.verified ? "in the source" : "not in the source";
      row.append(el("span", { class: `pill ${line.verified ? "good" : "bad"}` }, words));
    }
    if (canJump && line.source_lines.length) {
      const jump = el("button", { type: "button", class: "quiet jump" }, line.verified ? "show" : "what it says");
      jump.addEventListener("click", () => this.lookAt(line.source_lines[0]));
      row.append(jump);
    }
    return row;
  }

  lookAt(place) {
    const { source } = this.parts;
    const line = source.children[place];
    if (!line) return;
    for (const each of source.children) each.classList.toggle("looked", each === line);
    source.scrollTop = line.offsetTop - source.offsetTop - source.clientHeight / 3;
  }

  showFlag(flagged) {
    this.button("flag").setAttribute("aria-pressed", String(flagged));
  }

  showComment(text, open) {
    this.parts.text.value = text;
    this.parts.comment.hidden = !open;
    this.button("comment").setAttribute("aria-expanded", String(open));
    this.showProblem("");
  }

  showProblem(sentence) {
    this.parts.problem.textContent = sentence;
    this.parts.problem.hidden = !sentence;
  }

  showPace(pace) {
    const { goal, bar, figures } = this.parts;
    goal.hidden = false;
    bar.max = Math.max(1, pace.needed);
    bar.value = Math.min(pace.given, pace.needed);
    const words = [];
    if (pace.needed) words.push(`${Math.min(pace.given, pace.needed)} of ${pace.needed}`);
    words.push(`${pace.mine_today} by you today`);
    if (pace.median_seconds !== null) words.push(`about ${Math.max(1, Math.round(pace.median_seconds))} s each`);
    figures.textContent = words.join(" · ");
    bar.hidden = !pace.needed;
  }

  showSaving(outbox) {
    const { saving } = this.parts;
    const waiting = outbox.queue.length;
    const trouble = waiting ? outbox.trouble : null;
    const kept = waiting === 1 ? "Your answer is kept" : `Your ${waiting} answers are kept`;
    saving.classList.toggle("trouble", Boolean(trouble));
    if (!trouble) {
      const saved = outbox.saved ? `${outbox.saved} saved` : "";
      saving.textContent = [saved, waiting ? `${waiting} being sent` : ""].filter(Boolean).join(" · ");
    } else if (trouble.kind === "unreachable") {
      saving.textContent = `Not saved yet: the server does not answer. ${kept} here and sent again.`;
    } else if (trouble.kind === "signed-out") {
      const link = el("a", { href: `${ROOT}/sign-in` }, "Sign in again");
      saving.replaceChildren(`Not saved yet: you are signed out. ${kept} here. `, link, " and it is sent.");
    } else {
      saving.textContent = `Not saved yet: ${trouble.message} ${kept} here and sent again.`;
    }
    this.showRefusals(outbox);
  }

  showRefusals(outbox) {
    const { refusals } = this.parts;
    const key = outbox.refused.map((each) => each.key).join();
    if (refusals.dataset.key === key) return;
    refusals.dataset.key = key;
    refusals.replaceChildren(...outbox.refused.map((each) => this.refusal(each, outbox)));
  }

  refusal(event, outbox) {
    const what = event.body.choice ? `Your answer “${answerWords(event.body.choice, event.body.strength)}”` : "Your undo";
    const words = el("p", { dir: "auto" }, `${what} was not stored. ${event.sentence}`);
    if (event.body.comment) words.append(el("span", { class: "text", dir: "auto" }, ` Its comment: ${event.body.comment}`));
    const dismiss = el("button", { type: "button", class: "quiet" }, "Dismiss");
    dismiss.addEventListener("click", () => outbox.dismiss(event.key));
    return el("div", { class: "error refusal" }, words, dismiss);
  }

  announce(sentence) {
    this.parts.announce.textContent = sentence;
  }
}
