// Before the first paint: a chosen theme never flashes. The page knows light and dark by CSS.
document.documentElement.classList.add("js");
try {
	document.documentElement.dataset.theme = localStorage.theme ?? "";
} catch {
	// no storage: system's theme
}
