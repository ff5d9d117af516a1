"use strict";

const element = (id) => document.getElementById(id);
const form = element("form");
let latest = new AbortController();

async function ask(path, body, signal) {
  const answer = await fetch(path, { method: "POST", body, signal });
  if (answer.status === 401) throw new Error("You are no longer signed in. Sign in again: load this page anew.");
  if (!answer.ok) {
    const problem = await answer.json();
    throw new Error(problem.errors?.[0].detail ?? problem.detail);
  }
  return answer.text();
}

function tell(problem) {
  element("problem").textContent = problem;
  element("problem").hidden = problem === "";
}

function inWords(error) {
  return {
    TypeError: "The server cannot be reached.",
    SyntaxError: "The server did not understand.",
  }[error.name] ?? error.message;
}

// The verdict first; what carries it takes some twenty times as long.
async function analyse() {
  const asked = new FormData(form);
  latest.abort();
  latest = new AbortController();
  const { signal } = latest;
  element("analyse").disabled = true;
  tell("");
  element("why").replaceChildren();
  try {
    element("answer").innerHTML = await ask(form.dataset.answer, asked, signal);
    element("answer").scrollIntoView({ block: "nearest" });
    element("analyse").disabled = false;
    element("why").innerHTML = '<p class="hint waiting">Reading it again, without one sentence or another, to see what carries the verdict&hellip;</p>';
    element("why").innerHTML = await ask(form.dataset.why, asked, signal);
  } catch (error) {
    if (signal.aborted) return;
    if (!element("analyse").disabled) element("why").replaceChildren();
    else element("answer").replaceChildren();
    tell(inWords(error));
  }
  element("analyse").disabled = false;
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  analyse();
});

element("text").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
});

// What is judged already is judged anew by the risk that is chosen.
element("risk")?.addEventListener("change", () => {
  if (element("answer").childElementCount > 0) form.requestSubmit();
});

element("examples").addEventListener("click", (event) => {
  const { text } = event.target.dataset;
  if (text === undefined) return;
  event.preventDefault();
  element("text").value = text;
  form.requestSubmit();
});

if ("analyse" in form.dataset) form.requestSubmit();
