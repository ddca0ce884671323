// Starts headless Chromium with fake devices and opens pages that hold rig.js.
import { chromium } from 'playwright-core';
import { createServer } from 'node:http';
import { readFileSync } from 'node:fs';

const FLAGS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--use-fake-device-for-media-stream',
  '--use-fake-ui-for-media-stream',
  '--autoplay-policy=no-user-gesture-required',
  '--disable-features=WebRtcHideLocalIpsWithMdns',
];

// Calls `scenario` with a function that opens a page, prints what it returns as one line of JSON, and ends the process.
export async function run(scenario) {
  const config = JSON.parse(process.argv[2] ?? '{}');
  const page = readFileSync(new URL('./rig.js', import.meta.url));
  const server = createServer((request, response) => {
    const script = request.url === '/rig.js';
    response.setHeader('content-type', script ? 'text/javascript' : 'text/html');
    response.end(script ? page : '<!doctype html><title>voex scenario</title><script src="/rig.js"></script>');
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    headless: true,
    args: FLAGS,
    // Whom the browser trusts stands in the NSS database of its home.
    env: { ...process.env, ...(config.home && { HOME: config.home }) },
  });
  let code = 0;
  try {
    const open = async (name) => {
      const context = await browser.newContext({ permissions: ['camera', 'microphone'] });
      const page = await context.newPage();
      page.on('console', (message) => console.error(`[${name}] ${message.text()}`));
      page.on('pageerror', (error) => console.error(`[${name}] ${error.message}`));
      await page.goto(`http://127.0.0.1:${server.address().port}/`);
      return page;
    };
    console.log(JSON.stringify(await scenario(open, config)));
  } catch (error) {
    console.error(error.stack);
    code = 1;
  }
  await browser.close();
  server.close();
  process.exit(code);
}
