// The field in which a message is written.

import { byId } from "./dom.js";

const isComposing = (event) => event.isComposing || event.keyCode === 229; // a word, which takes the keys for itself

/** Whether a key in a text field means: send. */
export const isSend = (event) => event.key === "Enter" && !event.shiftKey && !isComposing(event);

/** Whether a key means: stop, or close. */
export const isEscape = (event) => event.key === "Escape" && !isComposing(event);

/** Make a text field as high as its text; the style sheet limits it. */
export function fit(area) {
  area.style.height = "auto";
  area.style.height = `${area.scrollHeight}px`;
}

/** `send(text)` says whether it took the text; `editLast()` whether there is a message to edit. */
export function startComposer({ send, editLast }) {
  const input = byId("input");
  const ready = () => {
    fit(input);
    byId("send").disabled = !input.value.trim();
  };
  const submit = (event) => {
    event.preventDefault();
    if (send(input.value)) input.value = "";
    ready();
  };
  byId("composer").addEventListener("submit", submit);
  input.addEventListener("input", ready);
  input.addEventListener("keydown", (event) => {
    if (isSend(event)) submit(event);
    else if (event.key === "ArrowUp" && !input.value && editLast()) event.preventDefault();
  });
  addEventListener("pageshow", ready); // a browser may have put a text back
  ready();
}
