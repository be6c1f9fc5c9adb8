// The page: puts its parts together, and shows the conversation that the address names (#ID).

import { served } from "./api.js";
import { Chat } from "./chat.js";
import { isEscape, startComposer } from "./composer.js";
import { notice, question } from "./dialogs.js";
import { button, byId, download, element } from "./dom.js";
import { MessageView } from "./messages.js";
import { fileName, fromSessions, toSessions } from "./sessions.js";
import { openSettings } from "./settings-dialog.js";
import { Settings } from "./settings.js";
import { closeSide, openSide, showList, sideIsOpen } from "./side.js";
import { Store, newConversation, numbersOf, titleOf } from "./store.js";
import { applyTexts, isolated, setLanguage, t } from "./texts.js";

const NEAR = 80; // pixels from the end that count as being there

class Page {
  constructor(storage) {
    this.settings = new Settings(storage);
    this.model = "";
    this.conversation = newConversation(); // the one that is shown
    this.store = new Store(storage, {
      changed: (id) => this.show(id),
      elsewhere: (id) => this.elsewhere(id),
      full: () => notice(t(storage ? "storageFull" : "noStorage")),
    });
    this.chat = new Chat(this.store, this.settings, {
      changed: (id) => this.show(id),
      text: (id) => this.write(id),
      forked: (from, to) => this.forked(from, to),
      reply: (id, text) => id === this.conversation.id && say(text),
      askKey: () => this.askKey(),
    });
    this.view = new MessageView(byId("messages"), {
      edit: (place, text) => this.edit(place, text),
      again: () => this.again(),
    });
  }

  start() {
    this.dress();
    this.listen();
    this.route();
    this.ask();
    const aside = this.store.aside;
    if (aside.length) {
      const lines = aside.map(([key, value]) => `${JSON.stringify({ key, value })}\n`).join("");
      notice(t("setAside", { n: aside.length }), [t("saveAside"), () => download("dialogpt-set-aside.jsonl", lines)]);
    }
    byId("input").focus();
  }

  /** Colours, language and direction as they are chosen; all texts anew. */
  dress() {
    const { theme, language } = this.settings.values;
    if (theme === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    setLanguage(language);
    applyTexts(document);
    byId("starters").replaceChildren(
      ...["starter1", "starter2", "starter3"].map((key) =>
        element("button", { type: "button", class: "starter", dir: "auto", onclick: () => this.send(t(key)) }, t(key)),
      ),
    );
    this.view.clear();
    this.show();
  }

  /** The model's name and the server's settings; a server that asks for a key gets one. */
  async ask() {
    try {
      const { name, mmi, defaults } = await served(this.settings.apiKey);
      this.model = name;
      this.settings.noBackward = !mmi;
      this.settings.server = defaults;
      byId("model").textContent = name;
    } catch (error) {
      if (error.status === 401) {
        const key = await this.askKey();
        if (key) {
          this.settings.setKey(key);
          await this.ask();
        }
      } else if (error.kind === "unreachable") notice(t("unreachable"));
    }
  }

  askKey() {
    this.asked ??= question({
      title: t("keyTitle"), text: t(this.settings.apiKey ? "keyWrong" : "keyText"), yes: t("send"),
      field: { label: t("key"), type: "password" },
    }).finally(() => {
      this.asked = null;
    });
    return this.asked;
  }

  /** Show the conversation of the address; a new one where it names none. */
  route() {
    const wanted = this.store.get(location.hash.slice(1));
    this.conversation = wanted ?? newConversation();
    this.view.clear();
    this.show();
    closeSide();
    toEnd();
  }

  open(id) {
    const address = location.pathname + location.search + (id && `#${id}`);
    if (location.hash.slice(1) !== id) history.pushState(null, "", address);
    this.route();
    byId("input").focus();
  }

  /** Bring everything up to date; `id`: only that conversation has changed. */
  show(id = this.conversation.id) {
    this.list();
    if (id !== this.conversation.id) return;
    const end = atEnd();
    const run = this.chat.runs.get(id);
    this.conversation = run?.conversation ?? this.store.get(id) ?? this.conversation;
    const { messages } = this.conversation;
    this.view.show(messages, run);
    const title = this.name;
    byId("title").textContent = title;
    byId("title").ariaHidden = String(!title); // an empty heading is none
    document.title = title ? `${title} · DialoGPT` : "DialoGPT";
    byId("welcome").hidden = messages.length > 0;
    for (const name of ["rename", "export", "delete"]) byId(name).hidden = !this.store.get(id);
    byId("state").replaceChildren(...this.state(run));
    byId("talk").classList.toggle("busy", Boolean(run));
    byId("stop").hidden = !run;
    byId("send").hidden = Boolean(run);
    if (end) toEnd();
  }

  /** The title of the conversation that is shown, with its number where others are called the same. */
  get name() {
    const title = titleOf(this.conversation);
    const number = numbersOf(this.store.list).get(this.conversation.id);
    return number ? `${title} (${number})` : title;
  }

  /** What is told below the messages: waiting, an error and a way out of it, or a reply that is missing. */
  state(run) {
    if (run) return run.wait ? [element("p", { class: "hint", role: "status" }, t("busy", { n: run.wait }))] : [];
    const failure = this.chat.failures.get(this.conversation.id);
    const last = this.conversation.messages.at(-1);
    const again = (text) => button(text, "again", () => this.again(), { class: "main retry" });
    if (failure) return [element("p", { class: "error", role: "alert", dir: "auto" }, told(failure)), again(t("retry"))];
    return last?.role === "user" ? [again(t("getReply"))] : [];
  }

  list() {
    showList(this.store.list, this.conversation.id, (id) => this.open(id));
  }

  write(id) {
    if (id !== this.conversation.id) return;
    const end = atEnd();
    this.view.write(this.chat.runs.get(id).text);
    if (end) toEnd();
  }

  send(text) {
    if (!text.trim() || this.chat.runs.has(this.conversation.id)) return false;
    this.adopt(this.chat.send(this.conversation, text.trim()));
    toEnd();
    return true;
  }

  /** Have a reply drawn. The button that asks for it vanishes: whoever has pressed a key goes on in the field. */
  again() {
    if (document.activeElement.matches("button:focus-visible")) byId("input").focus();
    this.chat.reply(this.conversation);
  }

  edit(place, text) {
    const title = t("beforeEdit", { title: titleOf(this.conversation) });
    const branched = this.conversation.messages.length > place + 1;
    this.adopt(this.chat.edit(this.conversation, place, text, title));
    if (branched) notice(t("branched"));
    byId("input").focus();
  }

  /** Show a conversation that has just been stored, under an address of its own. */
  adopt(conversation) {
    this.conversation = this.store.get(conversation.id) ?? conversation;
    if (location.hash.slice(1) !== conversation.id) history.replaceState(null, "", `#${conversation.id}`);
    this.show();
  }

  forked(from, to) {
    notice(t("forked"));
    if (from === this.conversation.id) this.adopt(this.store.get(to));
  }

  /** Another tab has changed or deleted a conversation; a reply that is being made here ends as one of its own. */
  elsewhere(id) {
    if (id === this.conversation.id && !this.store.get(id)) notice(t("goneElsewhere"));
    this.show(id);
  }

  async rename() {
    const { id } = this.conversation;
    const value = titleOf(this.conversation);
    const field = { label: t("renameLabel"), value };
    const title = await question({ title: t("renameTitle"), yes: t("renameYes"), field });
    const now = this.store.get(id);
    if (title !== null && title !== value && now) this.adopt(this.store.save({ ...now, title }));
  }

  async remove() {
    const { id } = this.conversation;
    const text = t("deleteText", { title: isolated(this.name || t("untitled")) });
    if (!(await question({ title: t("deleteTitle"), text, yes: t("deleteYes"), danger: true }))) return;
    this.chat.remove(id);
    if (this.conversation.id === id) this.open("");
  }

  async import(file) {
    let text;
    try {
      text = await file.text();
    } catch {
      notice(t("unreadableFile", { name: isolated(file.name) }));
      return;
    }
    const { found, bad } = fromSessions(text);
    const kept = found.toReversed().map((messages) => this.store.save(newConversation(messages)));
    const shown = bad.slice(0, 5).join(", ") + (bad.length > 5 ? ", …" : "");
    const told = [t("imported", { n: found.length })];
    if (bad.length) told.push(t("badLines", { n: bad.length, lines: shown }));
    notice(told.join(" "));
    if (kept.length) this.open(kept.at(-1).id);
  }

  listen() {
    const click = (id, action) => byId(id).addEventListener("click", action);
    click("new", () => this.open(""));
    click("open-side", openSide);
    click("close-side", closeSide);
    click("shade", closeSide);
    click("rename", () => this.rename());
    click("delete", () => this.remove());
    click("export", () => download(fileName(this.name), toSessions([this.conversation])));
    click("export-all", () => download("dialogpt-conversations.jsonl", toSessions(this.store.list)));
    click("import", () => byId("file").click());
    click("stop", () => this.stop());
    click("open-settings", () => openSettings(this.settings, this.model, (name) => this.changedSetting(name)));
    click("skip", (event) => {
      event.preventDefault();
      byId("input").focus();
    });
    byId("file").addEventListener("change", async ({ target }) => {
      if (target.files[0]) await this.import(target.files[0]);
      target.value = "";
    });
    startComposer({ send: (text) => this.send(text), editLast: () => this.view.editLast() });
    addEventListener("keydown", (event) => {
      if (!isEscape(event) || document.querySelector("dialog[open]")) return;
      if (sideIsOpen()) closeSide();
      else this.stop();
    });
    addEventListener("popstate", () => this.route());
    addEventListener("storage", ({ key }) => {
      this.store.heard(key);
      this.settings.read();
    });
    addEventListener("pagehide", () => [...this.chat.runs.keys()].forEach((id) => this.chat.stop(id)));
  }

  stop() {
    this.chat.stop(this.conversation.id);
    byId("input").focus();
  }

  changedSetting(name) {
    if (["theme", "language", "reset"].includes(name)) this.dress();
  }
}

/** An error in words: the server's own, where it has said something. */
function told({ kind, status, message }) {
  if (status === 401) return t("keyMissing");
  if (message.includes("mmi needs a backward model")) return t("noBackward");
  return kind === "status" ? message || t("serverError", { status }) : t(kind);
}

/** Have a screen reader say a reply, once it is whole; also the one that it said last. */
function say(text) {
  byId("said").textContent = "";
  setTimeout(() => {
    byId("said").textContent = text;
  }, 50);
}

function atEnd() {
  const place = byId("scroll");
  return place.scrollHeight - place.scrollTop - place.clientHeight < NEAR;
}

function toEnd() {
  byId("scroll").scrollTop = byId("scroll").scrollHeight;
}

function browserStorage() {
  try {
    const probe = "dialogpt:probe";
    localStorage.setItem(probe, "");
    localStorage.removeItem(probe);
    return localStorage;
  } catch (error) {
    return error.name === "QuotaExceededError" ? localStorage : null;
  }
}

new Page(browserStorage()).start();
