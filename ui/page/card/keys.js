// The keys: which press means what, and which presses mean nothing here.

const KEYS = {
  arrowleft: "left", arrowright: "right", t: "tie", b: "both_bad", x: "cannot_tell",
  s: "skip", u: "undo", f: "flag", c: "comment", g: "guidelines", h: "history", i: "who",
};
const DIGITS = { 1: "left", 2: "right", 3: "tie", 4: "both_bad", 0: "cannot_tell" };

// The name and strength of what a press asks for, or null: typing, repeats and combinations with other keys are not ours.
function pressed(event) {
  if (event.defaultPrevented || event.repeat || event.isComposing) return null;
  if (event.ctrlKey || event.metaKey || event.altKey) return null;
  if (event.target.closest?.("input, textarea, select, [contenteditable]:not([contenteditable=false])")) return null;
  // Digits by the place of the key, because on some keyboards they need Shift.
  const digit = event.code ? /^(?:Digit|Numpad)(\d)$/.exec(event.code)?.[1] : /^\d$/.exec(event.key)?.[0];
  const strong = event.shiftKey && (digit === "1" || digit === "2");
  if (event.shiftKey && !strong) return null;
  const name = digit === undefined ? KEYS[event.key.toLowerCase()] : DIGITS[digit];
  return name ? { name, strength: strong ? 2 : null } : null;
}
