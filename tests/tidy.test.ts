/** The house rules that a program can check. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { test } from "node:test";
import { at } from "../scripts/lib/paths.mjs";

const LINES_MAX = 600;
const COLUMNS_MAX = 100;

/** Every file of the repository, new ones included, by its path with "/". */
const files = execFileSync("git", ["ls-files", "--cached", "--others", "--exclude-standard"], {
  cwd: at(),
  encoding: "utf8",
})
  .split("\n")
  .filter((path) => path !== "" && existsSync(at(path)));

const code = files.filter((path) => /\.(rs|ts|mjs|js)$/.test(path));
const text = files.filter((path) => /\.(rs|ts|mjs|js|json|toml|md|html|css|sh)$/.test(path));

const read = (path: string) => readFileSync(at(path), "utf8");

/** "path:line" of each line that `isBad`. */
function badLines(paths: string[], isBad: (line: string) => boolean): string[] {
  return paths.flatMap((path) =>
    read(path)
      .split("\n")
      .flatMap((line, index) => (isBad(line) ? [`${path}:${index + 1}: ${line.trim()}`] : [])),
  );
}

test(`no source file is longer than ${LINES_MAX} lines`, () => {
  const inFolders = code.filter((path) => /^(src|client|worker|www|scripts|tests)\//.test(path));
  const long = inFolders.filter((path) => read(path).split("\n").length > LINES_MAX + 1);
  assert.deepEqual(long, []);
});

test(`no line of code is wider than ${COLUMNS_MAX} columns`, () => {
  assert.deepEqual(
    badLines(code, (line) => [...line].length > COLUMNS_MAX),
    [],
  );
});

test("nothing is left to do", () => {
  const unfinished = /\b(TOD[O]|FIXM[E])\b|\bdbg[!]|\b(todo|unimplemented)[!]\(/;
  assert.deepEqual(
    badLines(code, (line) => unfinished.test(line)),
    [],
  );
});

test("no file names somebody's home folder", () => {
  const home = /(^|[\s"'`=(:])\/(home|Users|root)\/|[A-Z]:\\+Users\\/;
  assert.deepEqual(
    badLines(text, (line) => home.test(line)),
    [],
  );
});

interface Locked {
  resolved?: string;
  optionalDependencies?: Record<string, string>;
}

test("the lock file names every platform's packages and no registry", () => {
  const packages: Record<string, Locked> = JSON.parse(read("package-lock.json")).packages;
  const entries = Object.entries(packages);
  assert.deepEqual(
    entries.filter(([, { resolved }]) => resolved !== undefined),
    [],
  );
  const missing = entries.flatMap(([path, { optionalDependencies = {} }]) =>
    Object.keys(optionalDependencies).filter(
      (name) =>
        !(`node_modules/${name}` in packages) && !(`${path}/node_modules/${name}` in packages),
    ),
  );
  assert.deepEqual(missing, []);
});

test("every version is exact", () => {
  const { dependencies = {}, devDependencies = {} } = JSON.parse(read("package.json"));
  const inexact = Object.entries({ ...dependencies, ...devDependencies }).filter(
    ([, version]) => !/^\d+\.\d+\.\d+$/.test(String(version)),
  );
  assert.deepEqual(inexact, []);
  const crates = badLines(["Cargo.toml"], (line) =>
    /^[\w-]+ = .*version = "[^=]|^[\w-]+ = "\d/.test(line),
  );
  assert.deepEqual(
    crates.filter((line) => !/: (version|edition|rust-version) = /.test(line)),
    [],
  );
});

/**
 * A promise of docs/GUARANTEES.md is a row of a table. Its last cell names tests, each as
 * `path::title`, or as `path` followed by one or more `title`s of that file.
 */
test("every promise names a test that exists", () => {
  const rows = read("docs/GUARANTEES.md")
    .split("\n")
    .filter((line) => line.startsWith("|"))
    .filter((line, index, all) => !isRule(line) && !isRule(all[index + 1] ?? ""));
  assert.ok(rows.length > 0, "docs/GUARANTEES.md has no table");
  assert.deepEqual(
    rows.flatMap((row) => problemsOf(row).map((problem) => `${problem} in ${row}`)),
    [],
  );
});

/** Whether a line is the rule between a table's head and its rows. */
const isRule = (line: string) => /^[|:\s-]+$/.test(line) && line.includes("-");

function problemsOf(row: string): string[] {
  const last =
    row
      .replace(/\|\s*$/, "")
      .split("|")
      .at(-1) ?? "";
  const names = [...last.matchAll(/`([^`]+)`/g)].flatMap((match) => (match[1] ?? "").split("::"));
  let file: string | undefined;
  let titles = 0;
  const problems = names.flatMap((name) => {
    if (files.includes(name)) {
      file = name;
      return [];
    }
    titles += 1;
    if (file === undefined) return [`no file before "${name}"`];
    return read(file).includes(name) ? [] : [`no test "${name}" in ${file}`];
  });
  return titles === 0 ? ["no test"] : problems;
}
