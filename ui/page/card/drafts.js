// Drafts: a comment that was begun and a flag that was set stay with their comparison, over a reload too.

const OLDEST_DRAFT_MILLISECONDS = 30 * 24 * 3600 * 1000;
const NO_DRAFT = { comment: "", flagged: false };

class Drafts {
  constructor(me) {
    this.prefix = `rrm:draft:${me.run}:${me.rater_id}:`;
  }

  of(card) {
    return { ...NO_DRAFT, ...(card && read(this.prefix + card.lease_id)) };
  }

  keep(card, { comment, flagged }) {
    if (!card) return;
    if (comment || flagged) store(this.prefix + card.lease_id, { comment, flagged, at: Date.now() });
    else this.forget(card);
  }

  forget(card) {
    forget(this.prefix + card.lease_id);
  }

  prune() {
    for (const key of storedKeys("rrm:draft:")) {
      if (!(read(key)?.at > Date.now() - OLDEST_DRAFT_MILLISECONDS)) forget(key);
    }
  }
}
