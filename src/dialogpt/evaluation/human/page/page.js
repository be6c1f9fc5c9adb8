// The pages of a study: say a name; then answer item by item.
//
// An answer is written to this browser's own storage before it is sent, and stays there until the server has said that
// it is kept: a reload, a crash or a lost connection costs nothing. All texts go in by textContent.

import { findLanguage, has, switchLanguage, t } from "./texts.js";

const FINAL = [404, 409, 413, 422]; // our server's own refusals: to try again would change nothing
const LONGEST_WAIT_S = 10;
const SAID = { dir: "auto", lang: "" }; // of texts that are judged: in whatever direction and language they are
const el = (id) => document.getElementById(id);

function make(tag, text, settings = {}) {
  const node = Object.assign(document.createElement(tag), settings);
  if (text) node.textContent = text;
  return node;
}

// The answer of the server, {status, body}; null when it could not be reached, is in trouble, or is not ours.
async function call(path, body) {
  const settings = { cache: "no-store", signal: AbortSignal.timeout(20000) };
  if (body) Object.assign(settings, { method: "POST", body: JSON.stringify(body), headers: { "Content-Type": "application/json" } });
  try {
    const response = await fetch(path, settings);
    const found = { status: response.status, body: await response.json() };
    return response.ok || (FINAL.includes(found.status) && found.body.error) ? found : null;
  } catch {
    return null;
  }
}

let noticed = []; // the text's key and its values, to be said in the other language, too

function notice(...what) {
  noticed = what;
  const text = what.length ? t(...what) : "";
  if (el("notice").textContent !== text) el("notice").textContent = text;
}

// ---- say a name

function joinPage() {
  el("join").addEventListener("submit", async (event) => {
    event.preventDefault();
    notice();
    const answer = await call("api/join", { name: el("name").value });
    if (answer?.status === 201) location.assign(`j/${answer.body.token}`);
    else notice(answer ? { 409: "nameTaken", 422: "nameWrong" }[answer.status] ?? "refused" : "unreachable", answer?.body);
  });
}

// ---- answer

const token = location.pathname.split("/").pop();
const api = `../api/j/${token}`;
const memory = new Map(); // where the browser keeps nothing, at least until the page is left

function keep(name, value) {
  memory.set(name, value);
  try {
    localStorage.setItem(`judge/${token}/${name}`, JSON.stringify(value));
  } catch { /* full, or not allowed */ }
}

function kept(name) {
  try {
    const text = localStorage.getItem(`judge/${token}/${name}`);
    if (text) return JSON.parse(text);
  } catch { /* as above */ }
  return memory.get(name) ?? null;
}

function forget(name) {
  memory.delete(name);
  try {
    localStorage.removeItem(`judge/${token}/${name}`);
  } catch { /* as above */ }
}

let state = null;
let busy = false;
let spentMs = 0; // the time that the item was seen, up to `since`
let since = 0; // 0 while the page is hidden

function seconds() {
  return (spentMs + (since ? performance.now() - since : 0)) / 1000;
}

function choicesOf(kind) {
  return kind === "pairs"
    ? [[t("a"), 1, "aأا"], [t("tie"), 0, "tت"], [t("b"), -1, "bب"]]
    : [1, 2, 3, 4, 5].map((rating) => [String(rating), rating, String(rating)]);
}

function pause(ms) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    window.addEventListener("online", () => { clearTimeout(timer); resolve(); }, { once: true });
  });
}

// Call until the server answers; `waiting` is said meanwhile.
async function insist(path, body, waiting) {
  for (let waitS = 1; ; waitS = Math.min(waitS * 2, LONGEST_WAIT_S)) {
    const answer = await call(path, body?.());
    if (answer) return answer;
    notice(waiting);
    await pause(waitS * 1000);
  }
}

// Send what was answered and not yet acknowledged, if anything, then show what comes next.
async function goOn(back = false) {
  if (busy) return;
  busy = true;
  el("item").classList.add("sending");
  let said = [];
  let answer = null;
  const unsent = kept("unsent");
  if (unsent) {
    answer = await insist(`${api}/answers`, () => unsent, "answerKept");
    if (answer.status !== 404) forget("unsent");
    if (answer.status === 200) forget(`draft/${unsent.assignment}`);
    else said = refusal(answer);
  }
  if (answer?.status !== 200) answer = await insist(back ? `${api}?back=1` : api, null, "tryingAgain");
  busy = false;
  el("item").classList.remove("sending");
  if (answer.status === 200) show(answer.body);
  else said = refusal(answer);
  notice(...said);
}

function refusal(answer) {
  return [{ 404: "unknown", 409: "tooLate" }[answer.status] ?? "refused", answer.body];
}

function show(found) {
  const first = !state;
  state = found;
  const { item, total } = state;
  el("who").textContent = state.name;
  el("meter").max = Math.max(total, 1);
  el("meter").value = item ? item.position : total;
  el("item").hidden = !item;
  el("end").hidden = Boolean(item);
  say();
  if (item) el("help").open = state.answered === 0;
  window.scrollTo(0, 0);
  if (!first) el(item ? "place" : "thanks").focus({ preventScroll: true });
}

// What `state` says, in the judge's language.
function say() {
  const { item, questions, kind, total } = state;
  const of = kind === "pairs" ? "Pairs" : "Ratings";
  el("progress").textContent = t("progress", { n: item ? item.position + 1 : state.answered, total });
  for (const name of ["task", "keys", "place"]) el(name).textContent = t(name + of);
  if (item) showItem(item, questions, kind);
  el("ending").textContent = t(state.held ? "allForNow" : "all", { n: state.held });
  el("reopen").hidden = !state.may_go_back;
}

function showItem(item, questions, kind) {
  const draft = kept(`draft/${item.assignment}`);
  const values = draft ? draft.values : item.values;
  spentMs = draft ? draft.seconds * 1000 : 0;
  since = document.hidden ? 0 : performance.now();
  el("turns").replaceChildren(...item.turns.map((turn, place) => {
    const li = make("li", "", { className: place % 2 ? "second" : "first" });
    li.append(make("span", t(place % 2 ? "second" : "first"), { className: "unseen" }));
    li.append(make("p", turn, { className: "turn", ...SAID }));
    return li;
  }));
  el("replies").className = kind === "pairs" ? "pair" : "one";
  el("replies").replaceChildren(...item.replies.map((reply, place) => {
    const card = make("article", "", { className: "reply" });
    card.append(make("h2", kind === "pairs" ? t("replyOf", { letter: t("ab"[place]) }) : t("reply")));
    card.append(reply ? make("p", reply, SAID) : make("p", t("saysNothing"), { className: "none" }));
    return card;
  }));
  el("questions").replaceChildren(...questions.map((question, place) => fieldset(question, place, kind, values)));
  el("back").classList.toggle("none", !state.may_go_back);
  complete();
}

function fieldset(question, place, kind, values) {
  const set = make("fieldset");
  const asked = `${kind === "pairs" ? "ask" : "rate"} ${question.criterion}`;
  const legend = make("legend", has(asked) ? t(asked) : question.text, { dir: "auto" });
  const means = `means ${question.criterion}`;
  if (question.meaning) legend.append(make("small", has(means) ? t(means) : question.meaning));
  const choices = make("div", "", { className: "choices" });
  for (const [label, value] of choicesOf(kind)) {
    const input = make("input", "", { type: "radio", name: `q${place}`, value: String(value), required: true });
    input.checked = values[question.criterion] === value;
    const whole = make("label");
    whole.append(input, make("span", label));
    choices.append(whole);
  }
  set.append(legend, choices);
  if (kind === "ratings") {
    const ends = make("div", "", { className: "ends" });
    ends.ariaHidden = "true";
    ends.append(make("span", t("poor")), make("span", t("good")));
    set.append(ends);
  }
  return set;
}

function chosen() {
  const values = {};
  state.questions.forEach((question, place) => {
    const input = document.querySelector(`input[name=q${place}]:checked`);
    if (input) values[question.criterion] = Number(input.value);
  });
  return values;
}

function complete() {
  const all = Object.keys(chosen()).length === state.questions.length;
  el("item").classList.toggle("incomplete", !all);
  return all;
}

function saveDraft() {
  if (state?.item) keep(`draft/${state.item.assignment}`, { values: chosen(), seconds: seconds() });
}

// What a key may mean wherever the keyboard is set to: its letter, and of other scripts its place on the keyboard, too.
function lettersOf(event) {
  const placed = /^[a-z0-9]$/i.test(event.key) ? event.key : event.code.replace(/^(Key|Digit|Numpad)/, "");
  const digit = event.key.replace(/[٠-٩۰-۹]/, (sign) => String(sign.codePointAt(0) & 15)); // Arabic and Persian ones
  return [digit, placed.toLowerCase()].filter((letter) => letter.length === 1);
}

function onKey(event) {
  if (event.ctrlKey || event.altKey || event.metaKey || busy || !state?.item) return;
  if (event.key === "Backspace" && state.may_go_back) {
    event.preventDefault();
    saveDraft();
    goOn(true);
  } else if (event.key === "Enter" && !event.target.closest("button, summary, input")) {
    event.preventDefault();
    el("item").requestSubmit();
  } else {
    const pressed = lettersOf(event);
    const choices = choicesOf(state.kind);
    const choice = choices.find(([, , letters], place) => pressed.some((key) => letters.includes(key) || key === String(place + 1)));
    if (choice) {
      event.preventDefault();
      press(choice[1]);
    }
  }
}

// Answer the question that has the focus, or the first one that is open, and move on to the one after it.
function press(value) {
  const sets = [...document.querySelectorAll("fieldset")];
  const open = (set) => !set.querySelector(":checked");
  const set = document.activeElement.closest("fieldset") ?? sets.find(open) ?? sets[0];
  const input = set.querySelector(`input[value="${value}"]`);
  input.checked = true;
  input.dispatchEvent(new Event("change", { bubbles: true }));
  const after = sets[sets.indexOf(set) + 1];
  if (after) (after.querySelector(":checked") ?? after.querySelector("input")).focus();
  else el("next").focus();
}

function judgePage() {
  el("item").addEventListener("change", () => { saveDraft(); complete(); notice(); });
  el("item").addEventListener("submit", (event) => {
    event.preventDefault();
    if (busy || !complete()) return;
    keep("unsent", { assignment: state.item.assignment, values: chosen(), seconds: seconds() });
    goOn();
  });
  for (const id of ["back", "reopen"]) el(id).addEventListener("click", () => { saveDraft(); goOn(true); });
  document.addEventListener("keydown", onKey);
  document.addEventListener("visibilitychange", () => {
    spentMs = seconds() * 1000;
    since = document.hidden ? 0 : performance.now();
    if (document.hidden) saveDraft();
  });
  goOn();
}

function onLanguage() {
  saveDraft();
  switchLanguage();
  if (state) say();
  if (noticed.length) notice(...noticed);
}

findLanguage();
el("language").addEventListener("click", onLanguage);
const { page } = document.body.dataset;
if (page === "join") joinPage();
if (page === "judge") judgePage();
