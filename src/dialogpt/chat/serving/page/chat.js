// What happens in conversations: messages said, edited, replied to, stopped, tried again. It knows no elements; `on` is
// told what the page has to show: changed(id), text(id), forked(from, to), reply(id, text), askKey() -> Promise<string>.

import { RequestError, ask } from "./api.js";
import { newConversation } from "./store.js";

/** A reply that is being made. */
class Run {
  constructor(conversation) {
    const last = conversation.messages.at(-1);
    this.conversation = conversation;
    this.replaces = last.role === "assistant" ? last : null; // the reply that it takes the place of
    this.context = this.replaces ? conversation.messages.slice(0, -1) : conversation.messages;
    this.draws = this.replaces ? (this.replaces.draws ?? 0) + 1 : 0; // how often it has been drawn before
    this.controller = new AbortController();
    this.text = "";
    this.wait = 0; // seconds until the server is asked again
    this.over = false;
  }
}

export class Chat {
  constructor(store, settings, on) {
    this.store = store;
    this.settings = settings;
    this.on = on;
    this.runs = new Map(); // conversation's id -> Run
    this.failures = new Map(); // conversation's id -> RequestError
  }

  /** Say something; returns the conversation as it is kept. */
  send(conversation, text) {
    const said = this.#save({ ...conversation, messages: [...conversation.messages, { role: "user", text }] });
    this.reply(said);
    return said;
  }

  /** Say something else at a place; the conversation as it was is kept beside this one, if it went on from there. */
  edit(conversation, place, text, oldTitle) {
    this.stop(conversation.id);
    const now = this.store.get(conversation.id) ?? conversation;
    if (now.messages.length > place + 1) this.store.save(newConversation(now.messages, oldTitle));
    return this.send({ ...now, messages: now.messages.slice(0, place) }, text);
  }

  /** Draw a reply to the last message; the reply that is there stays until the other one begins. */
  reply(conversation) {
    if (this.runs.has(conversation.id)) return;
    const run = new Run(conversation);
    this.runs.set(conversation.id, run);
    this.failures.delete(conversation.id);
    this.on.changed(conversation.id);
    this.#insist(run).then(
      (reply) => this.#end(run, reply),
      (error) => this.#end(run, { text: run.text, finish: "failed" }, error),
    );
  }

  /** Stop the reply of a conversation; what there is of it is kept. */
  stop(id) {
    const run = this.runs.get(id);
    if (!run) return;
    this.#end(run, { text: run.text, finish: "stopped" });
    run.controller.abort();
  }

  /** Stop a conversation's reply and delete it. */
  remove(id) {
    const run = this.runs.get(id);
    if (run) {
      run.over = true;
      run.controller.abort();
      this.runs.delete(id);
    }
    this.failures.delete(id);
    this.store.remove(id);
  }

  /**
   * Ask until there is a reply: while the server is busy, once it has the key, and, where the conversation is more than
   * a request may be, without the older half of its messages.
   */
  async #insist(run) {
    const { signal } = run.controller;
    let told = run.context;
    const onText = (piece) => {
      run.text += piece;
      if (!run.over) this.on.text(run.conversation.id);
    };
    for (;;) {
      try {
        return await ask(this.settings.request(told, run.draws), { key: this.settings.apiKey, signal, onText });
      } catch (error) {
        if (run.text || !(error instanceof RequestError)) throw error;
        if (error.status === 429) await this.#pause(run, error.wait);
        else if (error.status === 401) await this.#key(error);
        else if (error.status === 413 && told.length > 1) told = told.slice(Math.ceil(told.length / 2));
        else throw error;
        if (run.over) throw error;
      }
    }
  }

  async #pause(run, seconds) {
    for (run.wait = seconds; run.wait > 0 && !run.over; run.wait -= 1) {
      this.on.changed(run.conversation.id);
      await new Promise((resolve) => {
        setTimeout(resolve, 1000);
        run.controller.signal.addEventListener("abort", resolve, { once: true });
      });
    }
    run.wait = 0;
    if (!run.over) this.on.changed(run.conversation.id);
  }

  async #key(error) {
    const key = await this.on.askKey();
    if (!key) throw error;
    this.settings.setKey(key);
  }

  /** Take a reply, or what there is of it, into its conversation, once. */
  #end(run, { text, finish, hypotheses = [] }, error = null) {
    if (run.over) return;
    run.over = true;
    const { id } = run.conversation;
    this.runs.delete(id);
    if (error) {
      const known = error instanceof RequestError ? error : new RequestError("notOurs", { message: String(error) });
      this.failures.set(id, known);
      if (known.message.includes("mmi needs a backward model")) this.settings.noBackward = true;
    }
    if (text) {
      const message = { role: "assistant", text, finish, draws: run.draws, ...(hypotheses.length && { hypotheses }) };
      const kept = this.#save({ ...run.conversation, messages: [...run.context, message] });
      this.on.reply(kept.id, text);
    } else {
      if (!error && finish !== "stopped") this.failures.set(id, new RequestError(finish ? "nothing" : "notOurs"));
      this.on.changed(id);
    }
  }

  #save(conversation) {
    const kept = this.store.save(conversation);
    if (kept.id !== conversation.id) this.on.forked(conversation.id, kept.id);
    return kept;
  }
}
