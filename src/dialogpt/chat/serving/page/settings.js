// Settings: what they are, how they are kept, and what they make of a request. Null means: as the server has it.

import { setAside, write } from "./store.js";

const KEY = "dialogpt:settings";
const API_KEY = "dialogpt:key";

/** Numbers of a request, with the ranges that the server allows. */
export const NUMBERS = {
  temperature: { min: 0, max: 5, step: "any" },
  top_p: { min: 0.01, max: 1, step: "any" },
  top_k: { min: 0, max: 100000, step: 1 },
  min_p: { min: 0, max: 1, step: "any" },
  repetition_penalty: { min: 0.1, max: 10, step: "any" },
  max_tokens: { min: 1, max: 1024, step: 1 },
  seed: { min: 0, max: 2 ** 32, step: 1 },
  num_hypotheses: { min: 1, max: 16, step: 1 },
};
export const SWITCHES = ["mmi", "safety"];
export const CHOICES = { theme: ["auto", "light", "dark"], language: ["auto", "en", "ar"] };

const MMI_HYPOTHESES = 16; // as the server draws with MMI, where nobody says how many

const DEFAULTS = {
  ...Object.fromEntries([...Object.keys(NUMBERS), ...SWITCHES].map((name) => [name, null])),
  stream: true,
  theme: "auto",
  language: "auto",
};

/** Whether a number may be sent. */
export function inRange(name, value) {
  const { min, max, step } = NUMBERS[name];
  return Number.isFinite(value) && value >= min && value <= max && (step === "any" || Number.isInteger(value));
}

/** The number that is written, in European, Arabic or Persian digits; null for nothing, NaN for what is no number. */
export function numberIn(text) {
  const digits = text.trim().replace(/[\u0660-\u0669\u06f0-\u06f9]/g, (digit) => String(digit.charCodeAt(0) % 16));
  return digits ? Number(digits.replace("\u066b", ".")) : null;
}

/** The reader's settings, kept in the browser; damaged ones are set aside. */
export class Settings {
  constructor(storage) {
    this.storage = storage;
    this.values = { ...DEFAULTS };
    this.noBackward = false; // the server has said that it has no backward model
    this.server = {}; // what the server does where a request says nothing, once it has told
    this.apiKey = storage?.getItem(API_KEY) ?? "";
    this.read();
  }

  /** Take the stored settings. */
  read() {
    const text = this.storage?.getItem(KEY) ?? null;
    if (text === null) return;
    let found;
    try {
      found = JSON.parse(text);
    } catch {
      setAside(this.storage, KEY, text);
      return;
    }
    for (const name of Object.keys(DEFAULTS)) {
      this.values[name] = right(name, found?.[name]) ? found[name] : DEFAULTS[name];
    }
  }

  set(name, value) {
    this.values[name] = value;
    if (this.storage) write(this.storage, KEY, JSON.stringify(this.values));
  }

  setKey(key) {
    this.apiKey = key;
    if (this.storage) write(this.storage, API_KEY, key);
  }

  /** The defaults again; the API key, the colours and the language stay. */
  reset() {
    const { theme, language } = this.values;
    this.values = { ...DEFAULTS, theme, language };
    if (this.storage) write(this.storage, KEY, JSON.stringify(this.values));
  }

  /** What a setting is that is left alone, as the server has it; null where it says nothing of it. */
  serverValue(name) {
    const value = this.server[name] ?? null;
    if (name !== "num_hypotheses" || value !== null || !("mmi" in this.server)) return value;
    return (this.values.mmi ?? this.server.mmi) && !this.noBackward ? MMI_HYPOTHESES : 1;
  }

  /** The body of a request; each time a reply is drawn again, a seed that is set moves on by one. */
  request(messages, draws) {
    const body = { messages: messages.map(({ role, text }) => ({ role, content: text })), hypotheses: true };
    for (const name of [...Object.keys(NUMBERS), ...SWITCHES]) {
      if (this.values[name] !== null) body[name] = this.values[name];
    }
    if (body.seed !== undefined) body.seed += draws;
    if (this.noBackward && body.mmi) body.mmi = false;
    return { ...body, stream: this.values.stream };
  }
}

function right(name, value) {
  if (name in NUMBERS) return value === null || inRange(name, value);
  if (name in CHOICES) return CHOICES[name].includes(value);
  return typeof value === "boolean" || (SWITCHES.includes(name) && value === null);
}
