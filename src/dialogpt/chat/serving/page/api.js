// The server: a request -> a reply, in pieces as it is made; server-sent events are read as they come.

import { rightHypothesis } from "./store.js";

/**
 * What went wrong. kind: "unreachable", "brokenOff", "notOurs", "nothing" (a reply without a word), or "status" with the
 * server's own message.
 */
export class RequestError extends Error {
  constructor(kind, { status = 0, message = "", wait = 1 } = {}) {
    super(message);
    this.kind = kind;
    this.status = status;
    this.wait = wait; // seconds until another try makes sense
  }
}

/** The model that is served: its name, whether there is a backward model, and the settings of who says nothing. */
export async function served(key) {
  const response = await send("v1/models", { headers: headers(key) });
  const { id, dialogpt } = (await json(response)).data[0];
  return { name: id, mmi: dialogpt.mmi, defaults: dialogpt.defaults };
}

/**
 * Ask for a reply: `onText` is called with each piece; returns {text, finish, hypotheses}. An `onText` piece is heard
 * even when a RequestError follows.
 */
export async function ask(body, { key, signal, onText }) {
  const response = await send("v1/chat/completions", {
    method: "POST",
    headers: { ...headers(key), "Content-Type": "application/json" },
    body: JSON.stringify(body),
    signal,
  });
  const reply = { text: "", finish: "", hypotheses: [] };
  if (!body.stream) {
    const whole = await json(response);
    take(reply, whole.choices?.[0]?.message?.content, whole.choices?.[0]?.finish_reason, whole.hypotheses);
    return reply;
  }
  for await (const data of events(response)) {
    if (data === "[DONE]") return reply;
    const piece = parsed(data);
    if (piece.error) throw new RequestError("status", { status: 500, message: piece.error.message });
    const choice = piece.choices?.[0];
    if (choice) take(reply, choice.delta?.content, choice.finish_reason, piece.hypotheses, onText);
  }
  throw new RequestError("brokenOff");
}

function take(reply, text, finish, hypotheses, onText = () => {}) {
  if (text) {
    reply.text += text;
    onText(text);
  }
  if (finish) reply.finish = finish;
  if (Array.isArray(hypotheses) && hypotheses.every(rightHypothesis)) reply.hypotheses = hypotheses;
}

function headers(key) {
  // as bytes: a header of a request holds no other characters
  const bytes = new TextEncoder().encode(key);
  return key ? { Authorization: `Bearer ${String.fromCharCode(...bytes)}` } : {};
}

async function send(path, options) {
  let response;
  try {
    response = await fetch(path, { cache: "no-store", ...options });
  } catch (error) {
    throw options.signal?.aborted ? error : new RequestError("unreachable");
  }
  if (response.ok) return response;
  const found = await response.json().catch(() => null);
  const wait = Number.parseFloat(response.headers.get("Retry-After") ?? "");
  throw new RequestError("status", {
    status: response.status,
    message: found?.error?.message ?? "",
    wait: Number.isFinite(wait) ? Math.min(Math.max(Math.ceil(wait), 1), 60) : 1,
  });
}

async function json(response) {
  try {
    return await response.json();
  } catch (error) {
    throw error.name === "SyntaxError" ? new RequestError("notOurs") : new RequestError("brokenOff");
  }
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    throw new RequestError("notOurs");
  }
}

/** The data of server-sent events, one after another. */
async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await reader.read().catch(() => {
        throw new RequestError("brokenOff");
      });
      if (done) return;
      const blocks = (rest + value).replace(/\r\n/g, "\n").split("\n\n");
      rest = blocks.pop();
      for (const block of blocks) {
        const lines = block.split("\n").filter((line) => line.startsWith("data:"));
        if (lines.length) yield lines.map((line) => line.slice(5).replace(/^ /, "")).join("\n");
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}
