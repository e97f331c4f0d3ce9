// Colours: as the system has them, or one of the two for good.

const NAMES = ["auto", "light", "dark"];
const KEY = "meshlib-theme";

function stored() {
  try {
    const name = localStorage.getItem(KEY);
    return NAMES.includes(name) ? name : "auto";
  } catch {
    return "auto"; // storage is switched off
  }
}

export function startTheme(button) {
  let name = stored();
  const apply = () => {
    if (name === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = name;
    button.textContent = `Theme: ${name}`;
  };
  const next = () => {
    name = NAMES[(NAMES.indexOf(name) + 1) % NAMES.length];
    try { localStorage.setItem(KEY, name); } catch { /* only for this visit, then */ }
    apply();
  };
  button.addEventListener("click", next);
  apply();
  return next;
}
