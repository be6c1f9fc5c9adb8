// What the page says, in the judge's language: the browser's, until the judge chooses the other one.

import { ARABIC } from "./texts-ar.js";
import { ENGLISH } from "./texts-en.js";

const LANGUAGES = { en: ENGLISH, ar: ARABIC };
const KEPT = "judge/language"; // in this browser, for all studies of this server
let language = "en";

/** Take the language that was chosen, or the browser's; without one of ours English. */
export function findLanguage() {
  let chosen = null;
  try {
    chosen = localStorage.getItem(KEPT);
  } catch { /* not allowed */ }
  const wanted = [chosen, ...(navigator.languages ?? [navigator.language])];
  setLanguage(wanted.map((name) => String(name).slice(0, 2)).find((name) => name in LANGUAGES) ?? "en");
}

/** Take the other language, and keep it. */
export function switchLanguage() {
  setLanguage(language === "ar" ? "en" : "ar");
  try {
    localStorage.setItem(KEPT, language);
  } catch { /* full, or not allowed */ }
}

function setLanguage(chosen) {
  language = chosen;
  document.documentElement.lang = language;
  document.documentElement.dir = language === "ar" ? "rtl" : "ltr";
  document.title = t(document.body.dataset.title);
  for (const node of document.querySelectorAll("[data-text]")) node.textContent = t(node.dataset.text);
  document.getElementById("language").lang = language === "ar" ? "en" : "ar";
  for (const node of document.querySelectorAll("[data-label]")) node.setAttribute("aria-label", t(node.dataset.label));
}

/** Whether there is a text of that key in the language. */
export const has = (key) => key in LANGUAGES[language];

/** The text of a key, with `{name}` replaced by values; `n` chooses among plural forms. */
export function t(key, values = {}) {
  let text = LANGUAGES[language][key];
  if (typeof text === "object") text = text[new Intl.PluralRules(language).select(values.n)] ?? text.other;
  return text.replace(/\{(\w+)\}/g, (whole, name) => String(values[name] ?? whole));
}
