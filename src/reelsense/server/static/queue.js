"use strict";

const element = (id) => document.getElementById(id);
const queue = element("queue");
let busy = false;

function showProblem(problem) {
  element("problem").textContent = problem;
  element("problem").hidden = problem === "";
}

async function send(form, button) {
  const fields = new FormData(form);
  if (button.name) fields.append(button.name, button.value);
  const response = await fetch(button.formAction, { method: "POST", body: fields });
  if (response.status === 401) throw new Error("Your session has ended. Reload the page and sign in again.");
  if (!response.ok) {
    const problem = await response.json();
    throw new Error(problem.errors?.[0].detail ?? problem.detail);
  }
  queue.innerHTML = await response.text();
  element("announcement").textContent = element("message")?.textContent ?? "";
  element("item").focus();
}

queue.addEventListener("submit", async (event) => {
  event.preventDefault();
  if (busy) return;
  busy = true;
  showProblem("");
  try {
    await send(event.target, event.submitter);
  } catch (error) {
    showProblem(error instanceof TypeError ? "Cannot reach the server." : error.message);
  }
  busy = false;
});

document.addEventListener("keydown", (event) => {
  if (!element("shortcuts").checked || event.repeat || event.ctrlKey || event.metaKey || event.altKey) return;
  const buttons = [...queue.querySelectorAll("button[aria-keyshortcuts]")];
  buttons.find((button) => button.getAttribute("aria-keyshortcuts") === event.key.toLowerCase())?.click();
});

element("toggle").hidden = false;
