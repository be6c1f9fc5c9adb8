// The list of conversations; on a narrow screen it lies over the page while it is open.

import { byId, element } from "./dom.js";
import { numbersOf, titleOf } from "./store.js";
import { t } from "./texts.js";

/** Show the conversations; `go(id)` opens one. */
export function showList(conversations, current, go) {
  const list = byId("conversations");
  const focused = [...list.children].findIndex((item) => item.contains(document.activeElement));
  const numbers = numbersOf(conversations);
  const items = conversations.map((conversation) => {
    const { id } = conversation;
    const shown = id === current ? "page" : null;
    const attributes = { type: "button", dir: "auto", "aria-current": shown, onclick: () => go(id) };
    const title = element("span", { class: "name", lang: "" }, titleOf(conversation) || t("untitled"));
    const number = numbers.has(id) ? element("span", { class: "number" }, ` (${numbers.get(id)})`) : null;
    return element("li", {}, element("button", attributes, title, number));
  });
  list.replaceChildren(...items);
  if (focused >= 0) items[Math.min(focused, items.length - 1)]?.firstElementChild.focus();
  byId("no-conversations").hidden = items.length > 0;
  byId("export-all").hidden = items.length === 0;
}

/** Whether it lies over the page. */
export const sideIsOpen = () => byId("side").classList.contains("open");

export function openSide() {
  set(true);
  byId("close-side").focus();
}

export function closeSide() {
  if (!sideIsOpen()) return;
  set(false);
  byId("open-side").focus();
}

function set(open) {
  byId("side").classList.toggle("open", open);
  byId("open-side").setAttribute("aria-expanded", String(open));
  byId("talk").inert = open;
}
