// Talking to the server: JSON there and back, and three kinds of trouble told apart.

const ROOT = new URL(window.gradio_config?.root || window.location.href, window.location.href).pathname.replace(/\/+$/, "");

class Trouble extends Error {
  constructor(kind, sentence) {
    super(sentence);
    this.kind = kind; // "unreachable" and "failing" pass; "signed-out" and "other-person" need a person; "refused" is final
  }
}

const KIND_OF_STATUS = { 401: "signed-out", 409: "other-person" };

async function ask(path, body) {
  const options = { cache: "no-store", credentials: "same-origin", signal: AbortSignal.timeout(20000) };
  if (body !== undefined) {
    options.method = "POST";
    options.headers = { "Content-Type": "application/json" };
    options.body = JSON.stringify(body);
  }
  let reply;
  try {
    reply = await fetch(ROOT + path, options);
  } catch {
    throw new Trouble("unreachable", "The server does not answer.");
  }
  const said = await reply.json().catch(() => null);
  if (reply.ok && said) return said;
  const passing = reply.ok || reply.status >= 500 || reply.status === 408 || reply.status === 429;
  const kind = KIND_OF_STATUS[reply.status] ?? (passing ? "failing" : "refused");
  throw new Trouble(kind, said?.error ?? `The server answered with ${reply.status}.`);
}

function freshId() {
  // randomUUID exists only on https and on one's own machine; behind a plain http proxy it does not.
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function pause(milliseconds) {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}
