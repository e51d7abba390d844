// What a click asks for. What became of it is what the server and the instances say.
import { byId, hide, keys, on, part, say, toast } from "./page.js";
import { texts } from "./rows.js";
import { affected } from "./verdict.js";
import { count, plural } from "./words.js";

const PATIENCE = 60000; // a reset lives this long
const ASKS_BACK = [400, 409];

async function send(url, fields) {
	const body = new FormData(byId("act"));
	for (const [name, value] of Object.entries(fields)) body.set(name, value);
	try {
		const answer = await fetch(url, { method: "POST", headers: { Accept: "application/json" }, body });
		const said = answer.headers.get("Content-Type")?.includes("json") ? await answer.json() : {};
		const { ok, status } = answer;
		return { ok, status, message: said.error?.message ?? `The server refused (${status}).`, ...said };
	} catch {
		return { ok: false, message: "The server gave no answer. Nothing is known to have happened." };
	}
}

function pending(button, on) {
	button.ariaBusy = button.ariaDisabled = on ? "true" : null; // not disabled: the focus stays
}

let asked = null; // the open dialog says what is true now

/** Asks until the answer is no other question: the answer, or null. `tell()`: words by data-part, and whether it is `over`. */
function ask(dialog, url, fields, tell) {
	const form = part(dialog, "form");
	const spot = (name) => part(form, `[data-part=${name}]`);
	const [go, confirm, problem] = ["go", "confirm", "problem"].map(spot);
	form.reset();
	say(problem, "");
	pending(go, false);
	hide(confirm, true);
	asked = () => {
		const { over, ...words } = tell();
		for (const [name, text] of Object.entries(words)) if (spot(name)) say(spot(name), text);
		if (over) go.ariaDisabled = "true";
	};
	asked();
	dialog.showModal();
	return new Promise((done) => {
		const ended = new AbortController();
		on(form, "submit", async (event) => {
			if (event.submitter?.value === "cancel") return;
			event.preventDefault();
			if (go.ariaDisabled) return;
			pending(go, true);
			const answer = await send(url, { ...Object.fromEntries(new FormData(form)), ...fields });
			if (ended.signal.aborted) return done(answer); // dismissed meanwhile, and told all the same
			pending(go, false);
			say(problem, answer.message);
			hide(confirm, !answer.confirm);
			if (ASKS_BACK.includes(answer.status)) return asked();
			done(answer);
			dialog.close();
		}, { signal: ended.signal });
		on(dialog, "close", () => (asked = null, ended.abort(), go.ariaBusy || done(null)), { once: true });
	});
}

/** `rowOf(name)` is the row as last heard, or null; `many()` what the dialog of many says, or null. */
export function actions(rowOf, many) {
	const orders = new Map(); // by command: a reset's id, or a breaker and when its override ends

	function show(command) {
		const { text, line, button, overdue, progress } = orders.get(command);
		const { targeted, confirmed, silent } = progress;
		const missing = targeted - confirmed;
		const settled = !missing || overdue || missing === silent;
		const rest = missing && settled ? `, ${count(missing)} no answer` : "";
		const so = targeted ? `${count(confirmed)} of ${count(targeted)} confirmed${rest}` : "no instance is linked";
		toast(`${text}: ${so}`, settled ? (missing ? "warning" : "success") : "info", line);
		line.ariaBusy = settled ? null : "true"; // who listens hears the end
		if (settled && button) pending(button, false);
	}

	function follow(answer, text, button, line) {
		const { command, name } = answer;
		orders.set(command, { progress: answer, ...orders.get(command), text, button, line });
		show(command);
		compare([rowOf(name)]);
		setTimeout(() => {
			const order = orders.get(command);
			if (order?.line !== line) return; // another one by now
			order.overdue = true;
			if (order.progress.confirmed < order.progress.targeted) show(command);
			orders.delete(command);
		}, PATIENCE);
	}

	function heard(command, progress) {
		const order = orders.get(command);
		orders.set(command, { ...order, progress });
		if (order?.line) show(command);
		else setTimeout(() => orders.get(command)?.line || orders.delete(command), PATIENCE); // it may be somebody else's
	}

	function compare(rows) {
		for (const row of orders.size ? rows : []) {
			const command = row && `${row.name} ${row.override?.expires_at ?? ""}`;
			if (orders.has(command)) heard(command, { targeted: row.applied.of, confirmed: row.applied.on, silent: 0 });
		}
	}

	async function act(button, text, asking) {
		const answer = await asking;
		pending(button, Boolean(answer?.command));
		if (!answer) return;
		const line = toast(answer.message, answer.ok ? "success" : "error");
		if (answer.command) follow(answer, text || answer.message.replace(/\.$/, ""), button, line);
	}

	/** What a dialog says of one breaker, seen at that version. */
	function about(name, version) {
		const seen = rowOf(name);
		return () => {
			const row = rowOf(name);
			const over = seen && !row;
			const moved = row && row.version !== +version && `changed meanwhile: it is at v${row.version} now`;
			const problem = `${name} was ${over ? "deleted meanwhile" : moved}. Look again, then decide.`;
			return { name, ...facts(row ?? seen), over, ...((over || moved) && { problem }) };
		};
	}

	on(document, "click", (event) => {
		const button = event.target.closest("button.act:enabled, [data-dialog]");
		const { dialog } = button?.dataset ?? {};
		const all = dialog === "all-dialog";
		if (!button || (all && !many())) return;
		event.preventDefault();
		if (button.ariaDisabled) return;
		const target = button.value || (byId("breaker")?.dataset.target ?? "");
		const [name, version, instance] = target.split(" ");
		const reset = `Reset ${name}`;
		const tell = all ? many : about(name, version);
		if (dialog) act(button, null, ask(byId(dialog), button.href, { target }, tell));
		else if (instance || button.formAction.endsWith("/release")) {
			pending(button, true);
			act(button, instance && reset, send(button.formAction, { target }));
		} else act(button, reset, ask(byId("reset-dialog"), button.formAction, { target }, tell));
	});

	keys.r = () => {
		const place = document.activeElement.closest(".row") ?? part(document, ".page-head");
		place?.querySelector(".act[formaction$=reset]")?.click();
	};

	return {
		event: (message) => message.kind === "reset_progress" && heard(message.command, message),
		rows(rows) {
			compare(rows);
			asked?.();
		},
	};
}

function facts(row) {
	if (!row) return { count: "all instances", facts: "" };
	const { word, some, rate, limit_text: limit } = texts(row);
	const state = `${word} on ${some} of ${plural(affected(row)[1], "instance")}.`;
	const now = `Failure rate now: ${rate}${limit && `, ${limit}`}.`;
	return { count: plural(row.instances.total - row.instances.silent, "instance"), facts: `${state} ${now}` };
}
