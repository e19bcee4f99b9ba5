// What a browser keeps for its person: theme, clock, saved views. Never anything secret.
import { useEffect, useState } from "./lib.js";

const listeners = new Set();

export function kept(name, otherwise) {
  try {
    const found = localStorage.getItem(`perdure.${name}`);
    return found === null ? otherwise : JSON.parse(found);
  } catch {
    return otherwise;
  }
}

export function keep(name, value) {
  try {
    localStorage.setItem(`perdure.${name}`, JSON.stringify(value));
  } catch {
    // Full or forbidden: the choice lasts as long as the page.
  }
  for (const listener of listeners) listener(name, value);
}

export function useKept(name, otherwise) {
  const [value, setValue] = useState(() => kept(name, otherwise));
  useEffect(() => {
    const listen = (changed, now) => changed === name && setValue(now);
    listeners.add(listen);
    return () => listeners.delete(listen);
  }, [name]);
  return [value, (now) => keep(name, now)];
}

export function setTheme(theme) {
  if (theme === "system") {
    delete document.documentElement.dataset.theme;
    try { localStorage.removeItem("perdure.theme"); } catch { /* nothing was kept */ }
  } else {
    document.documentElement.dataset.theme = theme;
    // Plain text: early.js reads it before any module is there.
    try { localStorage.setItem("perdure.theme", theme); } catch { /* lasts as long as the page */ }
  }
}

export function theme() {
  return document.documentElement.dataset.theme ?? "system";
}
