/** Light or dark: the system's choice until the visitor makes one, which is remembered. */
import { byId } from "./dom.ts";
import { remember, remembered } from "./settings.ts";

type Theme = "light" | "dark";

const system = matchMedia("(prefers-color-scheme: dark)");
const systemTheme = (): Theme => (system.matches ? "dark" : "light");

/**
 * Applies the remembered theme and wires the toggle.
 * @param changed called whenever the colours have changed
 */
export function startTheme(changed: () => void): void {
  const toggle = byId("theme-toggle", HTMLButtonElement);
  const stored = remembered("theme");
  let chosen: Theme | undefined = stored === "light" || stored === "dark" ? stored : undefined;

  const apply = () => {
    const theme = chosen ?? systemTheme();
    if (chosen === undefined) delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = chosen;
    toggle.setAttribute("aria-pressed", String(theme === "dark"));
    changed();
  };
  toggle.addEventListener("click", () => {
    const other: Theme = (chosen ?? systemTheme()) === "dark" ? "light" : "dark";
    chosen = other === systemTheme() ? undefined : other;
    remember("theme", chosen);
    apply();
  });
  system.addEventListener("change", apply);
  apply();
}
