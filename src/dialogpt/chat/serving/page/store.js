// Conversations in the browser's storage, one entry each, so that tabs do not overwrite each other's:
//   dialogpt:conversation:ID -> {version, id, title, created, changed, revision, messages: [{role, text, ...}]}
// What cannot be read is set aside under dialogpt:aside:KEY, and comes back once it can. Objects are never changed in
// place: `save` takes a changed copy. A title of "" means: the first words.

const VERSION = 1;
const ENTRY = "dialogpt:conversation:";
const ASIDE = "dialogpt:aside:";
const TITLE_LENGTH = 40;

/** A number that nobody else has. `crypto.randomUUID` is there in secure contexts alone. */
export function newId() {
  return Array.from(crypto.getRandomValues(new Uint8Array(9)), (byte) => byte.toString(36).padStart(2, "0")).join("");
}

/** The title of a conversation: its own, or its first words, or "". */
export function titleOf({ title, messages }) {
  if (title) return title;
  const text = messages.find(({ role }) => role === "user")?.text ?? messages[0]?.text ?? "";
  const characters = Array.from(text.trim().replace(/\s+/g, " "));
  if (characters.length <= TITLE_LENGTH) return characters.join("");
  const cut = characters.slice(0, TITLE_LENGTH).join("");
  return `${cut.slice(0, cut.lastIndexOf(" ") > TITLE_LENGTH / 2 ? cut.lastIndexOf(" ") : undefined)}…`;
}

/** Numbers for conversations whose titles are alike, by id: 2 for the second that was begun, and so on. */
export function numbersOf(conversations) {
  const begun = ({ created, changed }) => (Number.isFinite(created) ? created : changed);
  const numbers = new Map();
  const alike = new Map();
  for (const conversation of [...conversations].sort((a, b) => begun(a) - begun(b) || (a.id < b.id ? -1 : 1))) {
    const title = titleOf(conversation);
    const number = (alike.get(title) ?? 0) + 1;
    alike.set(title, number);
    if (number > 1) numbers.set(conversation.id, number);
  }
  return numbers;
}

/** A conversation in which nothing has been said; it is not stored before `save`. */
export function newConversation(messages = [], title = "") {
  return { version: VERSION, id: newId(), title, created: Date.now(), changed: 0, revision: "", messages };
}

/** `storage`: the browser's, or null where it allows none. `on` is told: changed(id), full(), elsewhere(id). */
export class Store {
  constructor(storage, on) {
    this.storage = storage;
    this.on = on;
    this.conversations = new Map();
    this.#restore();
    for (const key of this.#keys(ENTRY)) this.#read(key);
  }

  /** All conversations, the last changed first. */
  get list() {
    return [...this.conversations.values()].sort((a, b) => b.changed - a.changed);
  }

  /** The entries that could not be read, by the keys they had. */
  get aside() {
    return this.#keys(ASIDE).map((key) => [key.slice(ASIDE.length), this.storage.getItem(key)]);
  }

  get(id) {
    return this.conversations.get(id);
  }

  /**
   * Keep a changed copy of a conversation; returns it as it is kept. Where another tab has changed it meanwhile, what
   * is here becomes a conversation of its own, with another id.
   */
  save(changed) {
    const newest = this.list[0]?.changed ?? 0;
    let kept = { ...changed, changed: Math.max(Date.now(), newest + 1) }; // several may be kept in a millisecond
    const stored = parse(this.storage?.getItem(ENTRY + kept.id) ?? null);
    if (stored && stored.revision !== kept.revision) kept = { ...kept, id: newId() };
    const next = { ...kept, revision: newId() };
    if (this.#write(ENTRY + next.id, JSON.stringify(next))) kept = next;
    else this.on.full();
    this.conversations.set(kept.id, kept);
    this.on.changed(kept.id);
    return kept;
  }

  remove(id) {
    this.storage?.removeItem(ENTRY + id);
    this.conversations.delete(id);
    this.on.changed(id);
  }

  /** Take notice of what another tab has stored; `key` null: it has cleared everything. */
  heard(key) {
    if (key !== null && !key.startsWith(ENTRY)) return;
    const ids = key === null ? [...this.conversations.keys()] : [key.slice(ENTRY.length)];
    for (const id of ids) {
      const stored = parse(this.storage.getItem(ENTRY + id));
      if (stored) this.conversations.set(id, stored);
      else this.conversations.delete(id);
      this.on.elsewhere(id);
    }
  }

  #read(key) {
    const text = this.storage.getItem(key);
    const conversation = parse(text);
    if (conversation && ENTRY + conversation.id === key) this.conversations.set(conversation.id, conversation);
    else setAside(this.storage, key, text);
  }

  #restore() {
    for (const key of this.#keys(ASIDE + ENTRY)) {
      const text = this.storage.getItem(key);
      const home = key.slice(ASIDE.length);
      const conversation = parse(text);
      const free = this.storage.getItem(home) === null;
      const right = conversation && ENTRY + conversation.id === home;
      if (right && free && this.#write(home, text)) this.storage.removeItem(key);
    }
  }

  #keys(prefix) {
    if (!this.storage) return [];
    const keys = Array.from({ length: this.storage.length }, (_, i) => this.storage.key(i));
    return keys.filter((key) => key.startsWith(prefix));
  }

  #write(key, text) {
    return this.storage !== null && write(this.storage, key, text);
  }
}

/** Store a text; false when there is no room for it. */
export function write(storage, key, text) {
  try {
    storage.setItem(key, text);
    return true;
  } catch {
    return false;
  }
}

/** Move an entry out of the way; where there is no room for it, it stays. */
export function setAside(storage, key, text) {
  const free = storage.getItem(ASIDE + key) === null ? ASIDE + key : `${ASIDE}${key}:${newId()}`;
  storage.removeItem(key);
  if (!write(storage, free, text)) write(storage, key, text);
}

/** The conversation that a text holds; null when it holds none of this version. */
function parse(text) {
  let found;
  try {
    found = JSON.parse(text);
  } catch {
    return null;
  }
  const { version, id, title, changed, revision, messages } = found ?? {};
  const right =
    version === VERSION && [id, title, revision].every((value) => typeof value === "string") &&
    Number.isFinite(changed) && Array.isArray(messages) && messages.every(rightMessage);
  return right ? found : null;
}

function rightMessage(message) {
  const { role, text, hypotheses } = message ?? {};
  return ["user", "assistant"].includes(role) && typeof text === "string" &&
    (hypotheses === undefined || (Array.isArray(hypotheses) && hypotheses.every(rightHypothesis)));
}

/** Of a hypothesis as the server tells it; without `forward` where an engine behind the server does not tell. */
export function rightHypothesis(hypothesis) {
  const { text, forward, tokens, scores, rejected } = hypothesis ?? {};
  return typeof text === "string" && (forward === undefined || Number.isFinite(forward)) && Number.isInteger(tokens) &&
    typeof scores === "object" && scores !== null && (rejected === null || typeof rejected === "string");
}
