// How long a comparison was in view: a hidden window does not count.
class Clock {
  constructor() {
    this.start();
    document.addEventListener("visibilitychange", () => this.tick());
  }

  start() {
    this.shownAt = new Date().toISOString();
    this.seen = 0;
    this.since = document.visibilityState === "visible" ? performance.now() : null;
  }

  tick() {
    if (this.since !== null) this.seen += performance.now() - this.since;
    this.since = document.visibilityState === "visible" ? performance.now() : null;
  }

  milliseconds() {
    this.tick();
    return Math.round(this.seen);
  }
}
