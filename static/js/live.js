// Regions that the server writes: asked for again as things happen, and put in place node by node.
import { all, byId, head, part, put, watched } from "./page.js";

const WAIT = 700; // after news, more may follow; longer than the server keeps an answer

/** Keeps [data-live="address"] (empty: this page) current: `soon` after news, and every data-every seconds. */
export function live() {
	const regions = all("[data-live]").map((node) => node.id);
	const { live: address, every } = part(document, "[data-every]")?.dataset ?? {};
	let asked = Date.now();
	let due = Infinity;
	let link = null;

	async function ask() {
		asked = Date.now();
		due = Infinity;
		try {
			const answer = await fetch(address || location.href, { headers: { Accept: "text/html" }, cache: "no-store" });
			if (!answer.ok || answer.redirected) return;
			const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
			for (const id of regions) {
				const [old, told] = [byId(id), fresh.getElementById(id)];
				if (old && told) morph(old, told, watched(old));
			}
			const icon = fresh.getElementById("favicon");
			if (icon) head(fresh.title, icon.dataset.level);
		} catch {
			// the state of the connection says so
		}
	}

	function check() {
		if (every && Date.now() >= due && !document.hidden && link?.sure) ask();
	}

	return {
		soon() {
			if (due < Infinity) return;
			due = Date.now() + WAIT;
			setTimeout(check, WAIT);
		},
		tick(feed) {
			link = feed;
			if (Date.now() - asked >= 1000 * every) due = 0;
			check();
		},
	};
}

/** Makes `old` say what `fresh` says. `held`: somebody looks, so what has an id keeps its place. */
function morph(old, fresh, held) {
	if (old.isEqualNode(fresh) || old.ariaBusy || fresh.matches?.("[data-away]")) return;
	if (old.nodeName !== fresh.nodeName || fresh.nodeType !== Node.ELEMENT_NODE) {
		old.replaceWith(document.adoptNode(fresh));
		return;
	}
	for (const { name } of [...old.attributes]) if (!fresh.hasAttribute(name)) old.removeAttribute(name);
	for (const { name, value } of fresh.attributes) put(old, name, value);
	const known = new Map([...old.children].filter((node) => node.id).map((node) => [node.id, node]));
	const nodes = [...fresh.childNodes];
	if (held && known.size) {
		for (const node of nodes) if (known.has(node.id)) morph(known.get(node.id), node, held);
		return;
	}
	let place = old.firstChild;
	for (const node of nodes) {
		const same = place && !place.id && place.nodeName === node.nodeName;
		const twin = node.id ? known.get(node.id) : same ? place : null;
		if (!twin) {
			old.insertBefore(document.adoptNode(node), place);
			continue;
		}
		if (twin === place) place = place.nextSibling;
		else old.insertBefore(twin, place);
		morph(twin, node, held);
	}
	while (place?.nextSibling) place.nextSibling.remove();
	place?.remove();
}
