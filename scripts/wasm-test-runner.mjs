/**
 * What cargo calls with a compiled test module for wasm32: wasm-bindgen-test-runner serves it, and
 * playwright opens it in headless Chromium. So no WebDriver of the browser's exact version has to
 * be installed, and the browser runs with the same flags as in every other test.
 */
import { spawn } from "node:child_process";
import { launchOptions } from "./lib/browser.mjs";
import { Explained, entry } from "./lib/run.mjs";
import { findWasmBindgen } from "./lib/toolchain.mjs";

/** Tests that print nothing for so long are taken to hang. */
const SILENCE_MS_MAX = 300_000;
const POLL_MS = 100;

/**
 * Start the server of wasm-bindgen-test-runner.
 * @param {string[]} args as cargo gives them
 * @returns {Promise<{ url: string | undefined, stop: () => void }>} no url: it had nothing to show
 */
async function startServer(args) {
  const program = findWasmBindgen("wasm-bindgen-test-runner");
  if (program === undefined) throw new Explained("no wasm-bindgen-test-runner: npm run setup");
  const server = spawn(program, args, {
    env: { ...process.env, NO_HEADLESS: "1", WASM_BINDGEN_TEST_ADDRESS: "127.0.0.1:0" },
    stdio: ["ignore", "pipe", "inherit"],
  });
  const stop = () => server.kill();
  let said = "";
  // Not destroyed on return: the server goes on printing, and must not meet a closed pipe.
  for await (const chunk of server.stdout.iterator({ destroyOnReturn: false })) {
    said += chunk;
    const url = /available at (http:\/\/\S+)/.exec(said)?.[1];
    if (url === undefined) continue;
    server.stdout.resume();
    return { url, stop };
  }
  process.stdout.write(said);
  if (server.exitCode !== 0) throw new Explained("wasm-bindgen-test-runner failed");
  return { url: undefined, stop };
}

/**
 * Print the page's output as it comes, until the summary.
 * @param {import("playwright-core").Page} page
 * @returns {Promise<string>} all of it
 */
async function follow(page) {
  let shown = "";
  let changed = performance.now();
  for (;;) {
    const output = (await page.locator("#output").textContent()) ?? "";
    if (output !== shown) {
      changed = performance.now();
      process.stdout.write(output.startsWith(shown) ? output.slice(shown.length) : output);
      shown = output;
    }
    if (/^test result: .*\n/m.test(output) || /^Worker error/m.test(output)) return output;
    if (performance.now() - changed > SILENCE_MS_MAX) throw new Explained("the tests hang");
    await page.waitForTimeout(POLL_MS);
  }
}

await entry(import.meta.url, async (args) => {
  const server = await startServer(args);
  if (server.url === undefined) return;
  const { chromium } = await import("playwright-core");
  // A profile on disk: in an incognito one, OPFS and IndexedDB are other code, in memory.
  const browser = await chromium.launchPersistentContext("", launchOptions());
  try {
    browser.setDefaultTimeout(SILENCE_MS_MAX);
    const page = await browser.newPage();
    page.on("pageerror", (error) => console.error(`page: ${error.message}`));
    await page.goto(server.url);
    const output = await follow(page);
    if (!/^test result: ok/m.test(output)) throw new Explained("tests failed");
  } finally {
    await browser.close();
    server.stop();
  }
});
