// Conversations <-> sessions files: a JSON object a line, {"id": ..., "turns": [{"text": ..., "speaker": ...}, ...]},
// as `dialogpt tokenize` takes them.

const SPEAKERS = { user: "user", assistant: "bot" };

/** Conversations as the lines of a sessions file. */
export function toSessions(conversations) {
  return conversations
    .map(({ id, messages }) => ({
      id,
      turns: messages.filter(({ text }) => text).map(({ role, text }) => ({ text, speaker: SPEAKERS[role] })),
    }))
    .filter(({ turns }) => turns.length)
    .map((session) => `${JSON.stringify(session)}\n`)
    .join("");
}

/** What a sessions file holds: the messages of each conversation, and the numbers of the lines that are none. */
export function fromSessions(text) {
  const found = [];
  const bad = [];
  for (const [index, line] of text.replace(/^\uFEFF/, "").split("\n").entries()) {
    if (!line.trim()) continue;
    const turns = turnsOf(line);
    if (turns) found.push(messagesOf(turns));
    else bad.push(index + 1);
  }
  return { found, bad };
}

function turnsOf(line) {
  let session;
  try {
    session = JSON.parse(line);
  } catch {
    return null;
  }
  const turns = session?.turns;
  const right = (turn) =>
    typeof turn?.text === "string" && turn.text && ["string", "undefined"].includes(typeof turn.speaker);
  return Array.isArray(turns) && turns.length && turns.every(right) ? turns : null;
}

/** Speakers that we know keep their role; else whoever speaks first is the user. Unnamed ones take turns. */
function messagesOf(turns) {
  const bot = turns.some(({ speaker }) => speaker === SPEAKERS.assistant);
  const first = turns[0].speaker;
  return turns.map(({ text, speaker }, index) => {
    const assistant = bot ? speaker === SPEAKERS.assistant : speaker ? speaker !== first : index % 2 === 1;
    return { role: assistant ? "assistant" : "user", text };
  });
}

/** A file's name for a conversation's title: no character that a file system refuses. */
export function fileName(title) {
  const name = title.replace(/[\u0000-\u001f\u007f/\\:*?"<>|.\u2026]+/g, " ").trim().replace(/\s+/g, "-");
  return `${Array.from(name).slice(0, 40).join("") || "conversation"}.jsonl`;
}
