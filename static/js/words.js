// How figures read; dashboard/words.py says the same.

export const elapsed = (since, now) => (since ? Math.max(0, (now - Date.parse(since)) / 1000) : null);

/** How long, or with `ago` how long ago; `now` null: since when, at what time. */
export const age = (since, now, ago = "") =>
	since && now === null ? `${ago ? "at" : "since"} ${hour(since)}` : duration(elapsed(since, now)) + ago;

export function duration(seconds) {
	if (seconds === null) return "–";
	const s = Math.floor(seconds);
	if (s < 60) return `${s} s`;
	const both = (size, unit, small, rest) => `${Math.floor(s / size)} ${unit} ${Math.floor((s % size) / small)} ${rest}`;
	if (s < 3600) return both(60, "m", 1, "s");
	return s < 86400 ? both(3600, "h", 60, "m") : both(86400, "d", 3600, "h");
}

export function roughly(seconds) {
	const s = Math.floor(seconds);
	const [size, unit] = [[86400, "d"], [3600, "h"], [60, "min"]].find(([size]) => s >= size) ?? [1, "s"];
	return `${Math.floor(s / size)} ${unit}`;
}

export function tenths(value) {
	const units = Math.floor(value * 10 + 0.5);
	return `${Math.floor(units / 10)}.${units % 10}`;
}

export const percent = (share) => `${tenths(share * 100)}%`;
export const limit = (share) => percent(share).replace(".0%", "%");
export const count = (n) => String(n).replace(/\B(?=(\d{3})+$)/g, ",");

export function speed(perSecond) {
	if (perSecond <= 0) return "0";
	return perSecond < 10 ? tenths(perSecond) : count(Math.floor(perSecond + 0.5));
}

export const clock = (at) => new Date(at).toISOString().slice(11, 19);
export const hour = (iso) => clock(Date.parse(iso)).slice(0, 5);
export const pageOf = (name) => `/dashboard/breakers/${encodeURIComponent(name).replaceAll("%3A", ":")}`;
export const plural = (n, noun) => `${count(n)} ${noun}${n === 1 ? "" : "s"}`;
