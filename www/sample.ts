/** Some lines of code to take away. */
import { byId, el } from "./dom.ts";
import { toast } from "./toast.ts";

export const SAMPLE = `import { openKv } from "kvass";

const kv = await openKv("my-app");
await kv.set(["user", "ada"], { age: 36 });

const ada = await kv.get(["user", "ada"]);
await kv
  .atomic()
  .check(ada) // refused if it has changed
  .set(ada.key, { ...ada.value, age: 37 })
  .sum(["edits"], 1n)
  .commit();

const users = kv.list({ prefix: ["user"] });
for await (const user of users) {
  console.log(user.key, user.value);
}`;

/** Shows code, and copies it for who wants it. */
export function startSample(code: string): void {
  const lines = code.split("\n").flatMap((line) => {
    const [words, comment] = line.split(/(?=\/\/ )/);
    return [words ?? "", comment && el("span", { class: "comment" }, comment), "\n"];
  });
  byId("sample-code").append(...lines.filter((part) => part !== undefined && part !== ""));
  byId("sample-copy").addEventListener("click", () => {
    navigator.clipboard.writeText(code).then(
      () => toast("Copied"),
      () => toast("This browser does not let the page copy: select the code instead"),
    );
  });
}
