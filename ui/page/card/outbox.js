// The outbox: every answer, undo and change is written to this browser's storage before anything is sent, is sent in
// order, and leaves the storage only when the server says that it is saved. Sending twice does no harm: each event has
// an id, and the server stores an id once. So whatever a closed tab leaves behind is sent by any other.

const RETRY_MILLISECONDS = [500, 1000, 2000, 4000];
const LARGEST_BATCH = 50;
const ORPHAN_MILLISECONDS = 30000;

class Outbox {
  constructor({ me, tab, onSettled, onChanged }) {
    this.me = me;
    this.tab = tab;
    this.onSettled = onSettled;
    this.onChanged = onChanged;
    this.prefix = `rrm:outbox:${me.run}:${me.rater_id}:`;
    this.refusedPrefix = `rrm:refused:${me.run}:${me.rater_id}:`;
    this.queue = [];
    this.refused = [];
    this.saved = 0;
    this.trouble = null;
    this.sending = false;
    this.count = 0;
    this.latest = 0; // time of the newest event here
    this.oneByOne = 0;
    this.wake = () => {};
  }

  start() {
    this.adopt(0);
    this.readRefused();
    this.orphans = setInterval(() => this.adopt(ORPHAN_MILLISECONDS), 15000);
    window.addEventListener("online", () => this.wake());
    window.addEventListener("beforeunload", (event) => {
      if (this.queue.some((each) => !each.kept)) event.preventDefault();
    });
  }

  stop() {
    clearInterval(this.orphans);
  }

  put(kind, body) {
    // Events are sent in this order after a reload too, and a clock that is set back must not put an undo first.
    const at = Math.max(Date.now(), this.latest + 1);
    this.latest = at;
    this.count += 1;
    const event = { kind, body, at, key: `${at}-${String(this.count).padStart(6, "0")}-${body.id}` };
    event.kept = store(this.prefix + event.key, { kind, body, at });
    this.queue.push(event);
    this.onChanged();
    this.pump();
    return event;
  }

  // What is in the storage and not in hand: left by an earlier load of this tab, or by a tab that is gone.
  adopt(olderThan) {
    const mine = new Set(this.queue.map((event) => event.key));
    for (const key of storedKeys(this.prefix)) {
      const short = key.slice(this.prefix.length);
      const event = read(key);
      if (mine.has(short) || !event || Date.now() - event.at < olderThan) continue;
      this.queue.push({ ...event, key: short, kept: true });
      this.latest = Math.max(this.latest, event.at);
    }
    this.queue.sort((one, other) => (one.key < other.key ? -1 : 1));
    this.pump();
  }

  holds(leaseId) {
    return this.queue.some((event) => event.body.lease_id === leaseId);
  }

  async drained() {
    while (this.queue.length && !this.trouble) await pause(20);
    return !this.queue.length;
  }

  async pump() {
    if (this.sending) return;
    this.sending = true;
    try {
      await this.sendAll();
    } finally {
      this.sending = false;
    }
    this.onChanged();
  }

  async sendAll() {
    for (let attempt = 0; this.queue.length; ) {
      this.onChanged();
      const batch = this.nextBatch();
      try {
        const outcomes = await this.send(batch);
        this.trouble = null;
        attempt = 0;
        batch.forEach((event, place) => this.settle(event, outcomes[place]));
      } catch (error) {
        if (!(error instanceof Trouble)) throw error;
        if (error.kind === "refused") {
          this.refuseBatch(batch, error.message);
          continue;
        }
        this.trouble = error;
        this.onChanged();
        await this.rest(RETRY_MILLISECONDS[Math.min(attempt++, RETRY_MILLISECONDS.length - 1)]);
      }
    }
  }

  nextBatch() {
    const batch = [this.queue[0]];
    if (this.queue[0].kind !== "answer" || this.oneByOne > 0) return batch;
    for (const event of this.queue.slice(1, LARGEST_BATCH)) {
      if (event.kind !== "answer") break;
      batch.push(event);
    }
    return batch;
  }

  async send(batch) {
    const who = { tab: this.tab, rater_id: this.me.rater_id };
    if (batch[0].kind !== "answer") return [await ask(`/api/${batch[0].kind}`, { ...batch[0].body, ...who })];
    const reply = await ask("/api/answer", { ...who, answers: batch.map((event) => event.body) });
    return reply.answers;
  }

  // A request that is refused as a whole is sent again event by event, so that only the one at fault is refused.
  refuseBatch(batch, sentence) {
    if (batch.length > 1) {
      this.oneByOne = batch.length;
      return;
    }
    this.settle(batch[0], { id: batch[0].body.id, saved: false, refused: sentence });
  }

  settle(event, outcome) {
    this.oneByOne = Math.max(0, this.oneByOne - 1);
    this.queue = this.queue.filter((each) => each !== event);
    if (outcome.saved) this.saved += 1;
    else this.keepRefused(event, outcome.refused);
    forget(this.prefix + event.key);
    if (!outcome.saved) this.dropUndoOf(event);
    this.onSettled(event, outcome);
  }

  // What was never stored need not be taken back.
  dropUndoOf(event) {
    for (const each of this.queue.filter((one) => one.kind === "undo" && one.body.judgement_id === event.body.id)) {
      this.queue = this.queue.filter((one) => one !== each);
      forget(this.prefix + each.key);
    }
  }

  keepRefused(event, sentence) {
    const refused = { ...event, sentence };
    store(this.refusedPrefix + event.key, refused);
    this.refused = [...this.refused.filter((each) => each.key !== event.key), refused];
  }

  readRefused() {
    this.refused = storedKeys(this.refusedPrefix).sort().map(read).filter(Boolean);
  }

  dismiss(key) {
    forget(this.refusedPrefix + key);
    this.refused = this.refused.filter((each) => each.key !== key);
    this.onChanged();
  }

  rest(milliseconds) {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, milliseconds);
      this.wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}
