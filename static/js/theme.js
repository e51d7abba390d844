// Runs before the first paint, so that a chosen theme never flashes; the page itself knows light and dark by CSS.
"use strict";
(() => {
	const root = document.documentElement;
	root.classList.add("js");
	try {
		const chosen = localStorage.getItem("theme");
		if (chosen === "light" || chosen === "dark") root.dataset.theme = chosen;
	} catch {
		// no storage: system's theme
	}
})();
