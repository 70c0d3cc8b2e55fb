// The hand: the comparisons that this tab holds, drawn ahead so that the next one is there at once.

const FULL_HAND = 10;
const REFILL_BELOW = 7;
const SIGN_OF_LIFE_MILLISECONDS = 60000;
const AWAY_MILLISECONDS = 10 * 60000; // after so long without a key or a click the hand is let go
const LOOK_AGAIN_MILLISECONDS = 5000;

class Hand {
  constructor({ me, isPending, onCards, onLost }) {
    this.me = me;
    this.isPending = isPending;
    this.onCards = onCards;
    this.onLost = onLost;
    this.cards = []; // the one that is shown is the first
    this.touched = new Map();
    this.busy = false;
    this.empty = null;
    this.elsewhere = false;
    this.trouble = null;
    // Tells the other tabs of this browser that what they hold was taken; those elsewhere find out by themselves.
    this.taken = new BroadcastChannel(`rrm:taken:${me.run}:${me.rater_id}`);
    this.taken.addEventListener("message", () => this.request({ count: 0 }));
    this.key = `rrm:tab:${me.run}:${me.rater_id}`;
    const left = this.claim();
    this.tab = left?.tab ?? freshId();
    this.left = left?.leases ?? []; // held, but without their cards as yet
  }

  // The tab's name lies in its storage only while no page uses it: a duplicated tab copies the storage, and two tabs
  // with one name would be given the same comparisons.
  claim() {
    try {
      const left = JSON.parse(sessionStorage.getItem(this.key));
      sessionStorage.removeItem(this.key);
      return left;
    } catch {
      return null;
    }
  }

  leave() {
    try {
      sessionStorage.setItem(this.key, JSON.stringify({ tab: this.tab, leases: [...this.left, ...this.held()] }));
    } catch {
      // without storage the leases run out by themselves
    }
  }

  start() {
    this.active = Date.now();
    this.timer = setInterval(() => this.signOfLife(), SIGN_OF_LIFE_MILLISECONDS);
    this.again = setInterval(() => {
      if (!this.cards.length && document.visibilityState === "visible") this.fill();
    }, LOOK_AGAIN_MILLISECONDS);
    return this.request({ count: FULL_HAND - this.left.length });
  }

  async bring() {
    while (this.busy) await pause(20);
    await this.request({ count: FULL_HAND - this.cards.length, takeOver: true });
    this.taken.postMessage(this.tab);
  }

  stop() {
    this.taken.close();
    clearInterval(this.timer);
    clearInterval(this.again);
  }

  held() {
    return this.cards.map((card) => card.lease_id);
  }

  current() {
    return this.cards[0] ?? null;
  }

  // The card is done with: the next one is shown, and more are fetched where few are left.
  drop(leaseId) {
    this.touched.set(leaseId, performance.now());
    this.cards = this.cards.filter((card) => card.lease_id !== leaseId);
    this.fill();
  }

  // Back into the hand, to be shown now.
  putFirst(card) {
    this.touched.set(card.lease_id, performance.now());
    this.cards = [card, ...this.cards.filter((each) => each.lease_id !== card.lease_id)];
  }

  // Fetches the card of a comparison that this tab holds already.
  restore(leaseId) {
    this.left.push(leaseId);
    this.request({ count: 0 });
  }

  fill() {
    if (this.cards.length >= REFILL_BELOW) return;
    this.request({ count: FULL_HAND - this.cards.length });
  }

  signOfLife() {
    if (Date.now() - this.active < AWAY_MILLISECONDS) this.request({ count: 0 });
  }

  async request({ count, takeOver = false }) {
    if (this.busy) return;
    this.busy = true;
    const left = [...this.left];
    const holding = [...left, ...this.held()];
    this.empty = count ? null : this.empty;
    const begun = performance.now();
    try {
      const midnight = new Date(new Date().setHours(0, 0, 0, 0)).toISOString();
      const who = { tab: this.tab, rater_id: this.me.rater_id };
      const body = { ...who, count: Math.max(0, count), holding, take_over: takeOver, since: midnight };
      if (left.length) body.restore = true;
      const reply = await ask("/api/next", body);
      this.trouble = null;
      if (count) {
        this.empty = reply.empty;
        this.elsewhere = reply.elsewhere;
      }
      this.left = this.left.filter((leaseId) => !left.includes(leaseId));
      this.take(reply, begun);
    } catch (error) {
      if (!(error instanceof Trouble)) throw error;
      this.trouble = error;
      this.onCards(null);
      return;
    } finally {
      this.busy = false;
    }
    // Meanwhile some may have been answered, or found to be held.
    if (this.left.length) this.request({ count: 0 });
    else if (!this.empty) this.fill();
  }

  take(reply, begun) {
    // What was answered or taken back while the request was on its way is newer than the reply.
    const untouched = (leaseId) => (this.touched.get(leaseId) ?? -1) < begun && !this.isPending(leaseId);
    const held = new Set(this.held());
    this.cards.push(...reply.cards.filter((card) => !held.has(card.lease_id) && untouched(card.lease_id)));
    const lost = reply.lost.filter((leaseId) => held.has(leaseId) && untouched(leaseId));
    this.onCards(reply.progress);
    if (lost.length) this.onLost(lost);
  }
}
