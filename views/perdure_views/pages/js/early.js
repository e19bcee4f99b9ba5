// Before anything is drawn: the theme that was chosen, so that no page flashes in the other one;
// and the question that most visits begin with, asked while the modules are still on their way.
try {
  const theme = localStorage.getItem("perdure.theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch {
  // A browser that keeps nothing follows the system.
}
if ((location.pathname === "/" || location.pathname === "/workflows") && !location.search) {
  window.perdureFirst = fetch("/api/v1/workflows?limit=50", { cache: "no-store" })
    .then((answer) => (answer.ok ? answer.json() : null), () => null);
}
