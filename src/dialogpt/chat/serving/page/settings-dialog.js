// The dialog of settings: what is changed holds at once.

import { button, byId, element } from "./dom.js";
import { CHOICES, NUMBERS, inRange, numberIn } from "./settings.js";
import { t } from "./texts.js";

const GROUPS = {
  groupDrawing: ["temperature", "top_p", "top_k", "min_p", "repetition_penalty", "max_tokens", "seed"],
  groupChoosing: ["num_hypotheses", "mmi", "safety"],
  groupPage: ["stream", "theme", "language", "key"],
};
const LANGUAGES = { en: "English", ar: "العربية" };

/** Open it; `model` is the served model's name, `changed(name)` is called after a change. */
export function openSettings(settings, model, changed) {
  const dialog = byId("settings");
  const draw = () => dialog.replaceChildren(...content(settings, model, dialog, update, draw));
  const update = (name) => {
    changed(name);
    if (name === "mmi") byId("setting-num_hypotheses").placeholder = settings.serverValue("num_hypotheses") ?? t("serverDefault");
    if (name === "language") {
      draw();
      byId("setting-language").focus();
    }
  };
  draw();
  dialog.showModal();
}

function content(settings, model, dialog, update, draw) {
  const groups = Object.entries(GROUPS).map(([group, names]) =>
    element("fieldset", {}, element("legend", {}, t(group)), ...names.map((name) => line(name, settings, update))),
  );
  const reset = () => {
    settings.reset();
    draw();
    update("reset");
    byId("settings-reset").focus();
  };
  return [
    element(
      "div",
      { class: "dialog-head" },
      element("h2", { id: "settings-title" }, t("settings")),
      element("p", { class: "hint", dir: "auto" }, model),
      button(t("close"), null, () => dialog.close(), { class: "main", autofocus: true }),
    ),
    element("div", { class: "dialog-body" }, element("p", { class: "hint" }, t("settingsNote")), ...groups,
      button(t("reset"), null, reset, { id: "settings-reset" })),
  ];
}

function line(name, settings, update) {
  const id = `setting-${name}`;
  const described = { id, "aria-describedby": `${id}-hint` };
  const off = name === "mmi" && settings.noBackward;
  return element(
    "div",
    { class: "setting" },
    element("label", { for: id }, t(name)),
    control(name, settings, update, off ? { ...described, disabled: true } : described),
    element("p", { class: "hint", id: `${id}-hint` }, off ? t("noBackward") : t(`${name}Hint`)),
  );
}

function control(name, settings, update, attributes) {
  if (name === "key") {
    const change = (event) => settings.setKey(event.target.value.trim());
    const value = settings.apiKey;
    return element("input", { ...attributes, type: "password", autocomplete: "off", value, onchange: change });
  }
  const set = (value) => {
    settings.set(name, value);
    update(name);
  };
  const server = settings.serverValue(name);
  if (name in NUMBERS) return number(name, settings.values[name], server, set, attributes);
  if (name === "stream") return choice([[true, t("on")], [false, t("off")]], settings.values.stream, set, attributes);
  if (name in CHOICES) {
    const said = (value) => LANGUAGES[value] ?? t(name + value[0].toUpperCase() + value.slice(1));
    return choice(CHOICES[name].map((value) => [value, said(value)]), settings.values[name], set, attributes);
  }
  const value = attributes.disabled ? false : settings.values[name];
  const alone = server === null ? t("serverDefault") : t("serverDefaultIs", { value: t(server ? "on" : "off") });
  return choice([[null, alone], [true, t("on")], [false, t("off")]], value, set, attributes);
}

function number(name, value, server, set, attributes) {
  const { min, max } = NUMBERS[name];
  const check = (event) => {
    const field = event.target;
    const written = numberIn(field.value);
    const right = written === null || inRange(name, written);
    field.setAttribute("aria-invalid", String(!right));
    byId(`${field.id}-hint`).textContent = right ? t(`${name}Hint`) : t("notANumber", { min, max });
    if (right) set(written);
  };
  const shown = value === null ? "" : String(value);
  // no field of type number: a browser takes the digits of its own language alone, and reads 0,5 as 05
  return element("input", { ...attributes, type: "text", autocomplete: "off", value: shown, inputmode: "decimal", dir: "ltr",
    placeholder: server === null ? t("serverDefault") : String(server), oninput: check });
}

function choice(options, value, set, attributes) {
  const change = (event) => set(options[event.target.selectedIndex][0]);
  const made = options.map(([option, text]) =>
    element("option", { value: String(option), selected: option === value }, text),
  );
  return element("select", { ...attributes, onchange: change }, ...made);
}
