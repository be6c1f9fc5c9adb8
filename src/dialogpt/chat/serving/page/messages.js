// The messages of a conversation as elements: what has not changed keeps its element, with its focus and open panels.

import { fit, isEscape, isSend } from "./composer.js";
import { SAID, button, element, icon } from "./dom.js";
import { hypothesesPanel } from "./hypotheses.js";
import { t } from "./texts.js";

const NOTES = ["stopped", "failed", "length", "content_filter"];

/** Shows messages in a list; `on`: edit(place, text), again(). */
export class MessageView {
  constructor(list, on) {
    this.list = list;
    this.on = on;
    this.shown = []; // messages that have elements, in order
    this.pending = null; // the element of the reply that is being made
  }

  /** Forget the elements, so that all are made anew. */
  clear() {
    this.list.replaceChildren();
    this.shown = [];
    this.pending = null;
  }

  /** Show a conversation's messages, and the reply that is being made, if any. */
  show(messages, run) {
    const before = run?.replaces ? messages.slice(0, -1) : messages;
    this.pending?.remove();
    this.pending = null;
    const same = before.findIndex((message, place) => message !== this.shown[place]);
    const kept = same < 0 ? before.length : same;
    while (this.list.children.length > kept) this.list.lastElementChild.remove();
    for (const [place, message] of before.entries()) {
      if (place >= kept) this.list.append(this.#item(message, place));
    }
    this.shown = [...before];
    if (run) {
      this.pending = pendingItem();
      this.list.append(this.pending);
      this.write(run.text);
    }
  }

  /** The text so far of the reply that is being made. */
  write(text) {
    if (!this.pending) return;
    this.pending.querySelector(".text").textContent = text;
    this.pending.classList.toggle("empty", !text);
  }

  /** Let the last message of the user be edited; false when there is none. */
  editLast() {
    const place = this.shown.findLastIndex(({ role }) => role === "user");
    if (place >= 0) this.#edit(this.list.children[place], this.shown[place], place);
    return place >= 0;
  }

  #item(message, place) {
    const user = message.role === "user";
    const item = element("li", { class: `message ${message.role}`, "data-place": place });
    const noted = NOTES.includes(message.finish) && !inDistress(message);
    const note = noted ? element("p", { class: "note" }, t(message.finish)) : null;
    item.append(
      element("span", { class: "unseen" }, t(user ? "youSaid" : "modelSaid")),
      element("p", { class: "text", ...SAID }, message.text),
      ...(note ? [note] : []),
    );
    if (user) item.append(pictureButton("edit", "edit", () => this.#edit(item, message, place)));
    else item.append(...this.#replyParts(message));
    return item;
  }

  #replyParts(message) {
    const again = button(t("again"), "again", () => this.on.again(), { class: "quiet again" });
    if (!message.hypotheses) return [element("div", { class: "actions" }, again)];
    const panel = hypothesesPanel(message.hypotheses);
    const toggle = button(t("hypotheses", { n: message.hypotheses.length }), "down", () => {
      panel.hidden = !panel.hidden;
      toggle.setAttribute("aria-expanded", String(!panel.hidden));
      if (!panel.hidden) panel.firstElementChild.scrollIntoView({ block: "nearest" });
    }, { class: "quiet toggle", "aria-expanded": "false" });
    return [element("div", { class: "actions" }, again, toggle), panel];
  }

  #edit(item, message, place) {
    if (item.querySelector("textarea")) return;
    const area = element("textarea", { dir: "auto", rows: 1, "aria-label": t("editMessage") });
    area.value = message.text;
    const close = () => {
      form.remove();
      item.classList.remove("editing");
      item.querySelector(".edit").focus();
    };
    const save = (event) => {
      event.preventDefault();
      if (area.value.trim()) this.on.edit(place, area.value.trim());
    };
    const form = element(
      "form",
      { class: "edit-form", onsubmit: save },
      area,
      element("div", { class: "edit-end" },
        button(t("cancel"), null, close), element("button", { type: "submit", class: "main" }, t("save"))),
    );
    area.addEventListener("keydown", (event) => {
      if (isEscape(event)) close();
      else if (isSend(event)) save(event);
      else return;
      event.preventDefault();
      event.stopPropagation();
    });
    area.addEventListener("input", () => fit(area));
    item.classList.add("editing");
    item.append(form);
    fit(area);
    area.focus();
  }
}

/** Whether the line was said that is for somebody in danger: nothing about drawing is to stand under it. */
function inDistress({ finish, hypotheses = [] }) {
  return finish === "content_filter" && hypotheses.some(({ rejected }) => rejected?.startsWith("distress"));
}

function pictureButton(key, picture, onclick) {
  const named = { title: t(key), "aria-label": t(key) };
  return element("button", { type: "button", class: `plain ${key}`, ...named, onclick }, icon(picture));
}

function pendingItem() {
  const dots = element("span", { class: "dots", "aria-hidden": "true" }, element("i"), element("i"), element("i"));
  return element(
    "li",
    { class: "message assistant pending empty", "aria-busy": "true" },
    element("span", { class: "unseen" }, t("typing")),
    element("p", { class: "text", ...SAID }),
    dots,
  );
}
