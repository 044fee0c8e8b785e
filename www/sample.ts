/** Ten lines of code to take away. */
import { byId, el } from "./dom.ts";
import { toast } from "./toast.ts";

const SAMPLE = `import { openKv } from "kvass";

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

export function startSample(): void {
  const lines = SAMPLE.split("\n").flatMap((line) => {
    const [code, comment] = line.split(/(?=\/\/ )/);
    return [code ?? "", comment && el("span", { class: "comment" }, comment), "\n"];
  });
  byId("sample-code").append(...lines.filter((part) => part !== undefined && part !== ""));
  byId("sample-copy").addEventListener("click", () => {
    navigator.clipboard.writeText(SAMPLE).then(
      () => toast("Copied"),
      () => toast("This browser does not let the page copy: select the code instead"),
    );
  });
}
