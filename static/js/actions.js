// What a click asks for. What became of it is what the server and the instances say.
import { byId, on, part, say, toast } from "./page.js";
import { affected, kindOf, WORDS } from "./verdict.js";
import { count, limit, percent, plural } from "./words.js";

const PATIENCE = 60000; // a reset lives this long

/** Wires every button.act; `rowOf(name)` is the row as last heard, or null. */
export function actions(rowOf) {
  const resets = new Map(); // by command

  async function send(url, fields) {
    const body = new FormData(byId("act"));
    for (const [name, value] of Object.entries(fields)) body.set(name, value);
    try {
      const answer = await fetch(url, { method: "POST", headers: { Accept: "application/json" }, body });
      const said = answer.headers.get("Content-Type")?.includes("json") ? await answer.json() : {};
      return { ok: answer.ok, message: `The server refused (${answer.status}).`, ...said };
    } catch {
      return { ok: false, message: "The server gave no answer. Nothing is known to have happened." };
    }
  }

  function confirm(dialog, parts) {
    for (const [name, text] of Object.entries(parts)) say(part(dialog, `[data-part=${name}]`), text);
    part(dialog, "form").reset();
    dialog.returnValue = "cancel";
    dialog.showModal();
    return new Promise((done) => {
      on(dialog, "close", () => done(dialog.returnValue === "go" ? part(dialog, "form") : null), { once: true });
    });
  }

  function pending(button, on) {
    button.ariaBusy = on ? "true" : null;
    button.disabled = on;
    button.toggleAttribute("data-pending", on);
  }

  function show(command) {
    const { name, line, button, progress, overdue } = resets.get(command);
    const { targeted, confirmed, silent } = progress;
    const missing = targeted - confirmed;
    const done = missing === 0;
    const settled = done || overdue || missing === silent;
    const rest = !done && settled ? `, ${count(missing)} no answer` : "";
    const text = targeted ? `Reset ${name}: ${count(confirmed)} of ${count(targeted)} confirmed${rest}` : `Reset ${name}: no instance is linked`;
    toast(text, settled ? (done ? "success" : "warning") : "info", line);
    if (settled && button) pending(button, false);
  }

  function follow(answer, name, button, line) {
    const early = resets.get(answer.command)?.progress;
    const { targeted, confirmed, silent } = early ?? answer;
    resets.set(answer.command, { name, button, line, progress: { targeted, confirmed, silent } });
    show(answer.command);
    setTimeout(() => {
      const reset = resets.get(answer.command);
      if (reset.progress.confirmed < reset.progress.targeted) {
        reset.overdue = true;
        show(answer.command);
      }
      resets.delete(answer.command);
    }, PATIENCE);
  }

  async function reset(button, name) {
    const row = rowOf(name);
    const instance = button.dataset.instance ?? "";
    let reason = "";
    if (!instance) {
      const form = await confirm(byId("reset-dialog"), { name, ...facts(row) });
      if (!form) return;
      reason = form.elements.reason.value;
    }
    pending(button, true);
    const line = toast(`Resetting ${name}…`);
    const answer = await send(button.formAction, { target: button.value, reason, instance });
    if (answer.ok) return follow(answer, name, button, line);
    pending(button, false);
    toast(answer.message, "error", line);
  }

  async function release(button, name) {
    pending(button, true);
    const answer = await send(button.formAction, { target: button.value });
    pending(button, false);
    toast(answer.message, answer.ok ? "success" : "error");
  }

  on(document, "click", (event) => {
    const button = event.target.closest("button.act");
    if (!button || button.disabled) return;
    event.preventDefault();
    const name = button.value.split(" ")[0];
    if (button.formAction.endsWith("/release")) release(button, name);
    else reset(button, name);
  });

  return {
    event(message) {
      if (message.kind !== "reset_progress") return;
      const known = resets.get(message.command);
      if (!known) {
        resets.set(message.command, { progress: message });
        return;
      }
      known.progress = message;
      if (known.line) show(message.command);
    },
    async resetAll(link, rows) {
      const open = rows.filter((row) => ["open", "ready"].includes(kindOf(row))).length;
      const typed = String(rows.length);
      const told = `${count(open)} of them ${open === 1 ? "is" : "are"} open now. Overrides stay.`;
      const form = await confirm(byId("all-dialog"), { count: plural(rows.length, "breaker"), typed, facts: told });
      if (!form) return;
      const query = Object.fromEntries(new URLSearchParams(location.search));
      const fields = { ...query, count: form.elements.count.value, reason: form.elements.reason.value };
      const answer = await send(link.href, fields);
      toast(answer.message, answer.ok ? "success" : "error");
    },
  };
}

function facts(row) {
  if (!row) return { count: "all instances", facts: "" };
  const [some, all] = affected(row);
  const state = `${WORDS[kindOf(row)]} on ${count(some)} of ${plural(all, "instance")}.`;
  const bound = row.limit === null ? "" : `, limit ${limit(row.limit)}`;
  const rate = row.failure_rate === null ? "Too few calls for a failure rate." : `Failure rate now ${percent(row.failure_rate)}${bound}.`;
  const live = row.instances.total - row.instances.silent;
  return { count: plural(live, "instance"), facts: `${state} ${rate}` };
}
