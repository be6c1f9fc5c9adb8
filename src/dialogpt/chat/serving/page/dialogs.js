// Questions and notices.

import { button, byId, element } from "./dom.js";
import { t } from "./texts.js";

/**
 * Ask in a dialog; resolves to null when it is called off, else to true, or to the text where a field is asked for.
 * field: {label, value, type}.
 */
export function question({ title, text = "", yes, field = null, danger = false }) {
  const dialog = byId("question");
  if (dialog.open) dialog.close();
  const input = field && element("input", { id: "answer", type: field.type ?? "text", value: field.value ?? "", dir: "auto",
    autocomplete: "off", spellcheck: "false" });
  return new Promise((resolve) => {
    const answer = (event) => {
      event.preventDefault();
      resolve(input ? input.value.trim() : true);
      dialog.close();
    };
    const form = element(
      "form",
      { onsubmit: answer },
      element("h2", { id: "question-title" }, title),
      text ? element("p", {}, text) : null,
      input && element("label", { for: "answer" }, field.label),
      input,
      element(
        "div",
        { class: "dialog-end" },
        button(t("cancel"), null, () => dialog.close(), { autofocus: danger }),
        element("button", { type: "submit", class: danger ? "main danger" : "main" }, yes),
      ),
    );
    dialog.replaceChildren(form);
    const closed = () => {
      if (dialog.open) return; // an earlier question was closed, to ask this one
      dialog.removeEventListener("close", closed);
      resolve(null);
    };
    dialog.addEventListener("close", closed);
    dialog.showModal();
    input?.select();
  });
}

/** Tell something above the messages, until it is dismissed; the same thing is told once. action: [text, function]. */
export function notice(text, action = null) {
  const place = byId("notices");
  if ([...place.querySelectorAll("p")].some((told) => told.textContent === text)) return;
  const box = element("div", { class: "notice", role: "status" });
  const close = button(t("dismiss"), "close", () => box.remove(), { class: "plain", "aria-label": t("dismiss") });
  close.lastElementChild.remove(); // the picture is enough to see
  place.append(box);
  box.append(element("p", {}, text), ...(action ? [button(action[0], null, action[1])] : []), close);
}
