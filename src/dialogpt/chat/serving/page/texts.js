// What the page says, in the reader's language. A text with numbers has a form for each plural of the language.

import { ARABIC } from "./texts-ar.js";
import { ENGLISH } from "./texts-en.js";

const LANGUAGES = { en: ENGLISH, ar: ARABIC };
let language = "en";

/** Choose the language: "en", "ar", or "auto" for the browser's. */
export function setLanguage(chosen) {
  const wanted = chosen === "auto" ? navigator.languages ?? [navigator.language] : [chosen];
  language = wanted.map((name) => String(name).slice(0, 2)).find((name) => name in LANGUAGES) ?? "en";
  document.documentElement.lang = language;
  document.documentElement.dir = language === "ar" ? "rtl" : "ltr";
}

/** A text that others have written, to stand in one of ours: neither changes the other's direction. */
export const isolated = (text) => `\u2068${text}\u2069`;

/** The text of a key, with `{name}` replaced by values; `n` chooses among plural forms. */
export function t(key, values = {}) {
  let text = LANGUAGES[language][key] ?? ENGLISH[key] ?? key;
  if (typeof text === "object") text = text[new Intl.PluralRules(language).select(values.n)] ?? text.other;
  return text.replace(/\{(\w+)\}/g, (whole, name) => String(values[name] ?? whole));
}

/** Put the texts into elements that name them: data-text, data-label (also the tooltip), data-placeholder. */
export function applyTexts(root) {
  for (const node of root.querySelectorAll("[data-text]")) node.textContent = t(node.dataset.text);
  for (const node of root.querySelectorAll("[data-placeholder]")) node.placeholder = t(node.dataset.placeholder);
  for (const node of root.querySelectorAll("[data-label]")) {
    node.setAttribute("aria-label", t(node.dataset.label));
    if (node.matches("button")) node.title = t(node.dataset.label);
  }
}
