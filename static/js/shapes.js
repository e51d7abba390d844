// The small pictures, as SVG attributes; dashboard/shapes.py draws the same.
import { kindOf } from "./verdict.js";
import { tenths } from "./words.js";

const MARKS = 40;
const COLUMNS = 10;
const STEP = 9;

function fitted(counts) {
	const total = counts.reduce((a, b) => a + b, 0);
	if (total <= MARKS) return counts;
	const found = counts.map((n) => (n ? Math.max(1, Math.floor((n * MARKS) / total)) : 0));
	found[found.indexOf(Math.max(...found))] += MARKS - found.reduce((a, b) => a + b, 0);
	return found;
}

const corner = (place) => `M${(place % COLUMNS) * STEP + 2} ${Math.floor(place / COLUMNS) * STEP + 2}`;

export function marks(row) {
	const names = ["open", "half_open", "silent", "closed"];
	const counts = fitted(names.map((name) => row.instances[name]));
	const paths = { half_fill: "" };
	let place = 0;
	names.forEach((name, index) => {
		paths[name] = "";
		for (let i = 0; i < counts[index]; i++, place++) {
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
	let run = [];
	const end = () => {
		if (run.length) {
			const path = run.join("L");
			line += run.length > 1 ? `M${path}` : `M${path}h1`;
			area += `M${run[0].split(" ")[0]} 22L${path}L${run.at(-1).split(" ")[0]} 22z`;
		}
		run = [];
	};
	trend.forEach((value, place) => {
		if (value === null) return end();
		const x = tenths(((30 - trend.length + place) * 80) / 29);
		run.push(`${x} ${tenths(21 - (Math.min(value, 100) * 20) / 100)}`);
	});
	end();
	return [line, area];
}
