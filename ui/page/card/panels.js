// The panels beside the card: guidelines, history, and who wrote what.

const PAGE = 20;

class Panels {
  constructor({ view, outbox, onChanged }) {
    this.view = view;
    this.outbox = outbox;
    this.onChanged = onChanged;
    this.settled = new Map();
    this.before = null;
    for (const button of view.root.querySelectorAll("[data-close]")) {
      button.addEventListener("click", () => button.closest("dialog").close());
    }
    for (const dialog of view.root.querySelectorAll("dialog")) {
      // A click beside the panel closes it.
      dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
    }
    view.parts["history-more"].addEventListener("click", () => this.loadHistory());
  }

  isOpen() {
    return Boolean(document.querySelector("dialog[open]"));
  }

  async openGuidelines() {
    const { guidelines, "guidelines-text": text } = this.view.parts;
    guidelines.showModal();
    guidelines.scrollTop = 0;
    try {
      text.replaceChildren(...markdown((await ask("/api/guidelines")).text));
    } catch (error) {
      if (!text.childElementCount) text.replaceChildren(el("p", { class: "error" }, trouble(error)));
    }
  }

  async openHistory() {
    const { history, "history-list": list } = this.view.parts;
    list.replaceChildren();
    this.before = null;
    history.showModal();
    history.scrollTop = 0;
    await this.loadHistory();
  }

  async loadHistory() {
    const { "history-list": list, "history-more": more, "history-status": status } = this.view.parts;
    status.textContent = "Loading …";
    more.hidden = true;
    await this.outbox.drained();
    try {
      const query = this.before === null ? "" : `&before=${this.before}`;
      const { entries } = await ask(`/api/history?count=${PAGE}${query}`);
      list.append(...entries.map((entry) => this.entry(entry)));
      this.before = entries.at(-1)?.position ?? this.before;
      more.hidden = entries.length < PAGE;
      const waiting = this.outbox.queue.length ? ` ${this.outbox.queue.length} are not saved yet and not listed.` : "";
      status.textContent = list.childElementCount ? waiting : `You have not answered anything yet.${waiting}`;
    } catch (error) {
      status.textContent = trouble(error);
    }
  }

  entry(entry) {
    const open = el("button", { type: "button", class: "quiet", "aria-expanded": "false" }, "Open");
    const notes = [
      entry.flagged && el("span", { class: "pill waiting" }, "flagged"),
      entry.unblinded && el("span", { class: "pill bad" }, "changed after you saw who wrote it"),
      entry.changed && !entry.unblinded && el("span", { class: "pill" }, "changed"),
    ].filter(Boolean);
    const row = el(
      "div",
      { class: "row" },
      el("span", { class: "muted small" }, new Date(entry.decided_at).toLocaleString([], { dateStyle: "medium", timeStyle: "short" })),
      el("span", { class: "spread", dir: "auto" }, entry.title),
      el("strong", {}, answerWords(entry.side, entry.strength)),
      ...notes,
      open,
    );
    const made = el("div", { class: "entry", "data-judgement": entry.judgement_id }, row);
    if (entry.side_alone && entry.side_alone !== entry.side) {
      made.append(el("p", { class: "small muted" }, `Before the aids: ${WORDS[entry.side_alone]}`));
    }
    if (entry.comment) made.append(el("p", { class: "text small", dir: "auto" }, entry.comment));
    open.addEventListener("click", () => this.toggle(made, entry, open));
    return made;
  }

  async toggle(made, entry, open) {
    const opened = made.querySelector(".opened");
    open.setAttribute("aria-expanded", String(!opened));
    open.textContent = opened ? "Open" : "Close";
    if (opened) return opened.remove();
    const body = el("div", { class: "opened" }, el("p", { class: "muted" }, "Loading …"));
    made.append(body);
    try {
      const card = await ask(`/api/card?lease_id=${encodeURIComponent(entry.lease_id)}`);
      body.replaceChildren(...this.openedCard(card, entry, made));
    } catch (error) {
      body.replaceChildren(el("p", { class: "error" }, trouble(error)));
    }
  }

  openedCard(card, entry, made) {
    const side = (name, text) => el("section", { class: "side", "aria-label": name }, el("h3", {}, name), ...linesOf(text));
    const comment = el("textarea", { rows: "2", dir: "auto" });
    comment.value = entry.comment;
    const problem = el("p", { class: "error small", role: "alert", hidden: true });
    const told = el("div", { role: "status" });
    if (entry.revealed) told.replaceChildren(...revealedWords(entry.revealed));
    const who = el("button", { type: "button", class: "quiet" }, "Who wrote what");
    who.addEventListener("click", async () => told.replaceChildren(...(await this.reveal(entry.lease_id))));
    const answers = el("div", { class: "answers", role: "group", "aria-label": "Change your answer" });
    for (const choice of ["left", "tie", "both_bad", "cannot_tell", "right"]) {
      const button = el("button", { type: "button", "aria-pressed": String(choice === entry.side) }, WORDS[choice]);
      button.addEventListener("click", () => this.change(entry, choice, comment, problem, made));
      answers.append(button);
    }
    return [
      el("div", { class: "scroller", tabindex: "0", role: "region", "aria-label": "Text of the source" }, ...linesOf(card.source)),
      ...(card.aids ?? []).map((aid) => this.view.aid(aid, null)),
      el("div", { class: "pair" }, side("Left", card.left), side("Right", card.right)),
      el("label", { class: "small muted" }, "Comment", comment),
      problem,
      answers,
      el("p", { class: "small muted" }, "The marked answer is the one you gave. Choose one to change it, or the same to keep it with another comment."),
      who,
      told,
    ];
  }

  async change(entry, choice, comment, problem, made) {
    problem.hidden = comment.value.length <= LONGEST_COMMENT;
    problem.textContent = tooLong(comment.value);
    if (!problem.hidden) return comment.focus();
    const strength = choice === entry.side ? entry.strength : null;
    const body = { id: freshId(), judgement_id: entry.judgement_id, choice, comment: comment.value, flagged: entry.flagged };
    if (strength) body.strength = strength;
    const settled = new Promise((resolve) => this.settled.set(body.id, resolve));
    made.querySelector(".row strong").textContent = `${answerWords(choice, strength)} (being saved)`;
    this.outbox.put("change", body);
    const outcome = await settled;
    if (!outcome.saved) {
      problem.textContent = outcome.refused;
      problem.hidden = false;
      made.querySelector(".row strong").textContent = answerWords(entry.side, entry.strength);
      return;
    }
    const unblinded = entry.unblinded || Boolean(entry.revealed) || Boolean(made.querySelector("[data-told]"));
    const id = outcome.judgement_id ?? body.id;
    const now = { ...entry, judgement_id: id, side: choice, strength, comment: comment.value, changed: true, unblinded };
    const fresh = this.entry(now);
    made.replaceWith(fresh);
    fresh.querySelector("button").focus();
    this.onChanged(entry, id);
  }

  onSettled(event, outcome) {
    this.settled.get(event.body.id)?.(outcome);
    this.settled.delete(event.body.id);
  }

  async openWho(leaseId) {
    const { who, "who-text": text } = this.view.parts;
    text.replaceChildren(el("p", {}, "Loading …"));
    who.showModal();
    if (!(await this.outbox.drained())) {
      text.replaceChildren(el("p", {}, "Your answer is not saved yet; who wrote what is told after that."));
      return;
    }
    text.replaceChildren(...(await this.reveal(leaseId ?? (await this.lastAnswered()))));
  }

  async lastAnswered() {
    try {
      return (await ask("/api/history?count=1")).entries[0]?.lease_id ?? null;
    } catch {
      return null;
    }
  }

  async reveal(leaseId) {
    if (!leaseId) return [el("p", {}, "After you have answered a comparison, this tells who wrote its two texts.")];
    try {
      return revealedWords(await ask("/api/reveal", { lease_id: leaseId }));
    } catch (error) {
      return [el("p", { class: "error" }, trouble(error))];
    }
  }
}

function revealedWords(told) {
  const facts = el("dl", { class: "facts", "data-told": true });
  const add = (name, value) => facts.append(el("dt", {}, name), el("dd", { dir: "auto" }, value));
  add("Left", told.left);
  add("Right", told.right);
  add("Level", `${told.level}, round ${told.round}`);
  add("Asked because", told.reason);
  add("Used", told.purpose);
  if (told.left_probability !== null) {
    add("Reward model", `The left is better with ${Math.round(100 * told.left_probability)}%, it says.`);
  }
  const note = "If you change this answer from now on, it is kept as one given after you knew, and left out of the accuracy.";
  return [facts, el("p", { class: "small muted" }, note)];
}

function trouble(error) {
  if (!(error instanceof Trouble)) throw error;
  return error.kind === "unreachable" ? "The server does not answer; try again in a moment." : error.message;
}

// The little Markdown that guidelines use: headings, lists, bold and italics. Anything else is shown as it is written.
function markdown(text) {
  const made = [];
  for (const block of text.split(/\n{2,}/)) {
    const lines = block.split("\n").filter((line) => line.trim());
    if (!lines.length) continue;
    if (lines.every((line) => /^[-*] /.test(line))) {
      made.push(el("ul", {}, ...lines.map((line) => el("li", { dir: "auto" }, ...inline(line.slice(2))))));
    } else if (/^#{1,6} /.test(lines[0])) {
      made.push(el("h3", { dir: "auto" }, ...inline(lines[0].replace(/^#+ /, ""))));
      if (lines.length > 1) made.push(...markdown(lines.slice(1).join("\n")));
    } else {
      made.push(el("p", { dir: "auto" }, ...inline(lines.join(" "))));
    }
  }
  return made;
}

function inline(text) {
  return text.split(/(\*\*[^*]+\*\*|\*[^*]+\*)/).map((piece) => {
    if (/^\*\*[^*]+\*\*$/.test(piece)) return el("strong", {}, piece.slice(2, -2));
    if (/^\*[^*]+\*$/.test(piece)) return el("em", {}, piece.slice(1, -1));
    return piece;
  });
}
