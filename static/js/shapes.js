// The small pictures, as SVG attributes; dashboard/shapes.py draws the same.
import { kindOf } from "./verdict.js";
import { tenths } from "./words.js";

const MARKS = 40;
const COLUMNS = 10;
const STEP = 9;

const sum = (counts) => counts.reduce((a, b) => a + b, 0);

function fitted(counts) {
	const total = sum(counts);
	if (total <= MARKS) return counts;
	const found = counts.map((n) => (n ? Math.max(1, Math.floor((n * MARKS) / total)) : 0));
	found[found.indexOf(Math.max(...found))] += MARKS - sum(found);
	return found;
}

const corner = (place) => `M${(place % COLUMNS) * STEP + 2} ${Math.floor(place / COLUMNS) * STEP + 2}`;

export function marks(row) {
	const names = ["open", "half_open", "silent", "closed"];
	const paths = { half_fill: "" };
	let place = 0;
	fitted(names.map((name) => row.instances[name])).forEach((count, index) => {
		const name = names[index];
		paths[name] = "";
		for (const end = place + count; place < end; place++) {
			paths[name] += `${corner(place)}h5v5h-5z`;
			if (name === "half_open") paths.half_fill += `${corner(place)}h2v5h-2z`;
		}
	});
	return paths;
}

export function marksSize(row) {
	const n = Math.min(row.instances.total, MARKS);
	return [Math.max(1, Math.min(n, COLUMNS)) * STEP, Math.max(1, Math.ceil(n / COLUMNS)) * STEP];
}

export function bar(row) {
	const rate = row.failure_rate ?? 0;
	const over = row.limit !== null && rate >= row.limit;
	const limit = row.limit === null ? "" : `M${tenths(row.limit * 80)} 0v12`;
	return [tenths(rate * 80), limit, over || kindOf(row) === "open"];
}

export function spark(trend) {
	let line = "";
	let area = "";
	let drawn = false;
	for (const [place, value] of [...trend, null].entries()) {
		if (value !== null) {
			const x = tenths(((30 - trend.length + place) * 80) / 29);
			const y = tenths(21 - (Math.min(value, 100) * 20) / 100);
			line += drawn ? `L${x} ${y}` : `M${x} ${y}h0`;
			area += drawn ? `L${x} ${y}` : `M${x} 22V${y}`;
		} else if (drawn) area += "V22z";
		drawn = value !== null;
	}
	return [line, area];
}
