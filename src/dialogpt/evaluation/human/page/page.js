// The pages of a study: say a name; then answer item by item.
//
// An answer is written to this browser's own storage before it is sent, and stays there until the server has said that
// it is kept: a reload, a crash or a lost connection costs nothing. All texts go in by textContent.

"use strict";

const FAILED = "The server does not answer. ";
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

function notice(text) {
  if (el("notice").textContent !== text) el("notice").textContent = text;
}

// ---- say a name

function joinPage() {
  el("join").addEventListener("submit", async (event) => {
    event.preventDefault();
    notice("");
    const answer = await call("api/join", { name: el("name").value });
    if (!answer) notice(FAILED + "Please try again.");
    else if (answer.status === 201) location.assign(`j/${answer.body.token}`);
    else notice(answer.status === 409
      ? "Somebody judges under this name already. If that is you, open your own link; else choose another name."
      : `${answer.body.error}: ${answer.body.hint}.`);
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
    ? [["A", 1, "a"], ["Tie", 0, "t"], ["B", -1, "b"]]
    : [1, 2, 3, 4, 5].map((rating) => [String(rating), rating, String(rating)]);
}

function pause(ms) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    window.addEventListener("online", () => { clearTimeout(timer); resolve(); }, { once: true });
  });
}

// Call until the server answers.
async function insist(path, body, message) {
  for (let waitS = 1; ; waitS = Math.min(waitS * 2, LONGEST_WAIT_S)) {
    const answer = await call(path, body?.());
    if (answer) return answer;
    notice(FAILED + message);
    await pause(waitS * 1000);
  }
}

// Send what was answered and not yet acknowledged, if anything, then show what comes next.
async function goOn(back = false) {
  if (busy) return;
  busy = true;
  el("item").classList.add("sending");
  let said = "";
  let answer = null;
  const unsent = kept("unsent");
  if (unsent) {
    answer = await insist(`${api}/answers`, () => unsent, "Your answer is kept here, and sent as soon as it can be.");
    if (answer.status !== 404) forget("unsent");
    if (answer.status === 200) forget(`draft/${unsent.assignment}`);
    else said = `Your last answer was not taken: ${answer.body.error}.`;
  }
  if (answer?.status !== 200) answer = await insist(back ? `${api}?back=1` : api, null, "Trying again.");
  busy = false;
  el("item").classList.remove("sending");
  if (answer.status === 200) show(answer.body);
  else said = `${answer.body.error}: ${answer.body.hint}.`;
  notice(said);
}

function show(found) {
  const first = !state;
  state = found;
  const { item, questions, kind, total } = state;
  el("who").textContent = state.name;
  el("progress").textContent = item ? `${item.position + 1} of ${total}` : `${state.answered} of ${total}`;
  el("meter").max = Math.max(total, 1);
  el("meter").value = item ? item.position : total;
  el("item").hidden = !item;
  el("end").hidden = Boolean(item);
  if (first) help(kind);
  if (item) {
    showItem(item, questions, kind);
    el("help").open = state.answered === 0;
  } else {
    el("ending").textContent = state.held
      ? `That is all for now. Others have ${state.held} more before them; if they leave some, these come back here: please look again in half an hour.`
      : "That is all. Your answers are kept; you may close this page.";
    el("reopen").hidden = !state.may_go_back;
  }
  window.scrollTo(0, 0);
  if (!first) el(item ? "place" : "thanks").focus({ preventScroll: true });
}

function help(kind) {
  el("task").textContent = kind === "pairs"
    ? "Read the conversation, then the two replies that might come next, and say which one is better. A tie is an answer, too."
    : "Read the conversation, then the reply that might come next, and rate it from 1, very poor, to 5, very good.";
  el("keys").textContent = kind === "pairs" ? "Keys: A, T, B · Enter: next · Backspace: back" : "Keys: 1 to 5 · Enter: next · Backspace: back";
}

function showItem(item, questions, kind) {
  const draft = kept(`draft/${item.assignment}`);
  const values = draft ? draft.values : item.values;
  spentMs = draft ? draft.seconds * 1000 : 0;
  since = document.hidden ? 0 : performance.now();
  el("place").textContent = kind === "pairs" ? "Which reply is better?" : "How good is the reply?";
  el("turns").replaceChildren(...item.turns.map((turn, place) => {
    const li = make("li", "", { className: place % 2 ? "second" : "first" });
    li.append(make("span", place % 2 ? "Second speaker: " : "First speaker: ", { className: "unseen" }));
    li.append(make("p", turn, { className: "turn", ...SAID }));
    return li;
  }));
  el("replies").className = kind === "pairs" ? "pair" : "one";
  el("replies").replaceChildren(...item.replies.map((reply, place) => {
    const card = make("article", "", { className: "reply" });
    card.append(make("h2", kind === "pairs" ? `Reply ${"AB"[place]}` : "Reply"));
    card.append(reply ? make("p", reply, SAID) : make("p", "(says nothing)", { className: "none" }));
    return card;
  }));
  el("questions").replaceChildren(...questions.map((question, place) => fieldset(question, place, kind, values)));
  el("back").classList.toggle("none", !state.may_go_back);
  complete();
}

function fieldset(question, place, kind, values) {
  const set = make("fieldset");
  const legend = make("legend", question.text, { dir: "auto" });
  if (question.meaning) legend.append(make("small", question.meaning));
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
    ends.append(make("span", "very poor"), make("span", "very good"));
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

// What a key means wherever the keyboard is set to: its letter, or else its place on the keyboard.
function letterOf(event) {
  return /^[a-z0-9]$/i.test(event.key) ? event.key.toLowerCase() : event.code.replace(/^(Key|Digit|Numpad)/, "").toLowerCase();
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
    const key = letterOf(event);
    const choice = choicesOf(state.kind).find(([, , letter], place) => key === letter || key === String(place + 1));
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
  el("item").addEventListener("change", () => { saveDraft(); complete(); notice(""); });
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

if (document.body.dataset.page === "join") joinPage();
else judgePage();
