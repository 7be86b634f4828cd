// A Chromium that complains: what its pages log, and whom they ask besides the address they came from.
import { chromium } from "playwright-core";

export async function launch(executablePath, url) {
  const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
  const heard = { complaints: [], elsewhere: [] };

  async function open(width, options = {}) {
    const context = await browser.newContext({ viewport: { width, height: 900 }, ...options });
    const page = await context.newPage();
    page.setDefaultTimeout(20_000);
    // The browser's word for a page that is refused, which some of these are to be.
    const isExpected = (text) => /status of (401|403|404|412|422|503)/.test(text);
    page.on("console", (message) => {
      const text = message.text();
      if (message.type() === "error" && !isExpected(text)) heard.complaints.push(`${page.url()}: ${text}`);
    });
    page.on("pageerror", (error) => heard.complaints.push(`${page.url()}: ${error}`));
    page.on("request", (request) => {
      const address = request.url();
      if (!address.startsWith(url) && !address.startsWith("data:")) heard.elsewhere.push(address);
    });
    return page;
  }

  async function signIn(page, role) {
    await page.goto(`${url}/console/sign-in`);
    await page.getByRole("button", { name: role, exact: true }).click();
    await page.waitForURL((address) => !address.pathname.endsWith("/sign-in"));
  }

  return { browser, heard, open, signIn };
}
