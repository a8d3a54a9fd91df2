// Looks at the dashboard of the demo: who is registered, who holds which lock and who waits, where traffic goes.
//
// usage: node demo.js '{"admin": "127.0.0.1:8401", "login": "http://…/login#…", "shots": "folder"}'

import assert from 'node:assert/strict';
import { createRequire } from 'node:module';

const { chromium } = createRequire(new URL('../../../.tools/browser/', import.meta.url))('playwright-core');
const { admin, login, shots } = JSON.parse(process.argv[2]);
const site = `http://${admin}`;
const browser = await chromium.launch({
  executablePath: '/usr/bin/chromium',
  args: process.getuid() === 0 ? ['--no-sandbox'] : [],
});

async function look(name, options) {
  const page = await (await browser.newContext(options)).newPage();
  page.setDefaultTimeout(40_000);
  const wrong = [];
  page.on('console', (message) => { if (message.type() === 'error') wrong.push(message.text()); });
  page.on('pageerror', (error) => wrong.push(String(error)));
  await page.goto(login);
  await page.waitForURL(`${site}/`);
  await page.getByText('services').first().waitFor();
  // Calls are counted over five seconds.
  await page.waitForFunction(() => Number(document.querySelector('#figures span b').textContent) > 1);
  // Within one look: who is registered, who holds which lock, and who waits.
  for (const service of ['greeter', 'clock']) await page.locator('#top-services a', { hasText: service }).waitFor();
  const report = page.locator('#top-locks tr', { hasText: '/locks/nightly-report' });
  await report.getByText(/^worker-[12]$/).nth(1).waitFor();
  if (shots) await page.screenshot({ path: `${shots}/${name}-overview.png` });
  await page.goto(`${site}/services`);
  for (const service of ['greeter', 'clock']) await page.getByRole('link', { name: service }).waitFor();
  await page.goto(`${site}/locks`);
  await page.locator('.queue', { hasText: '/locks/nightly-report' }).locator('li:not(.head) code').waitFor();
  await page.locator('.queue', { hasText: '/locks/nightly-report' }).locator('li.head b', { hasText: 'worker-' }).waitFor();
  await page.locator('.queue progress').nth(2).waitFor();
  if (shots) await page.screenshot({ path: `${shots}/${name}-locks.png` });
  await page.goto(`${site}/service?name=greeter`);
  await page.getByRole('link', { name: 'Drain' }).first().waitFor();
  await page.waitForFunction(() => document.querySelectorAll('#rows svg.spark').length >= 2);
  if (shots) await page.screenshot({ path: `${shots}/${name}-service.png` });
  assert.deepEqual(wrong, []);
  await page.context().close();
}

let error = null;
try {
  await look('light', { viewport: { width: 1280, height: 720 }, colorScheme: 'light' });
  await look('dark', { viewport: { width: 1280, height: 720 }, colorScheme: 'dark' });
  await look('narrow', { viewport: { width: 360, height: 740 }, colorScheme: 'light' });
} catch (problem) {
  error = String(problem.stack ?? problem);
}
console.log(JSON.stringify({ check: 'the demo in a minute', ok: !error, error }));
await browser.close();
process.exit(error ? 1 : 0);
