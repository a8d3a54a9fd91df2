// Looks at the dashboard as people do, with a real browser, and acts on it.
//
// usage: node dashboard.js '{"admin": "127.0.0.1:8401", "login": "http://…/login#…", "proxy": "127.0.0.1:8400", "pid": 1,
//                            "etcdctl": ["etcdctl", "--endpoints=…"], "shots": "folder"}'
//
// Prints one line of JSON per check and exits with 1 if one fails.

import assert from 'node:assert/strict';
import { spawn, execFileSync } from 'node:child_process';
import { createRequire } from 'node:module';
import http from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';

// Where `make setup-test` installs them: nothing fetched lies beside the sources.
const require = createRequire(new URL('../../../.tools/browser/', import.meta.url));
const { chromium } = require('playwright-core');
const axe = require.resolve('axe-core');

const { admin, login, proxy, pid, etcdctl, shots } = JSON.parse(process.argv[2]);
const site = `http://${admin}`;
const PAGES = ['/', '/services', '/service?name=web', '/locks', '/leases', '/filters', '/routes?host=web', '/events', '/config', '/login'];
const PATIENCE = 20_000;

const root = process.getuid() === 0;
const browser = await chromium.launch({
  executablePath: '/usr/bin/chromium',
  // Chromium's own sandbox does not run as root, as in containers; every page here is our own.
  args: root ? ['--no-sandbox'] : [],
});

const wrong = [];

// A browser of its own, that notes every error and every request to elsewhere.
async function context(options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, ...options });
  context.setDefaultTimeout(PATIENCE);
  context.on('console', (message) => {
    const { url } = message.location();
    // The answer to what is refused on purpose is no error of the page.
    if (message.type() === 'error' && !message.text().includes('409 (Conflict)')) wrong.push(`${url}: ${message.text()}`);
  });
  context.on('weberror', (error) => wrong.push(String(error.error())));
  context.on('request', (request) => {
    if (!request.url().startsWith(site) && !request.url().startsWith('data:')) wrong.push(`left the machine: ${request.url()}`);
  });
  return context;
}

const etcd = (...args) => execFileSync(etcdctl[0], [...etcdctl.slice(1), ...args], { env: { ...process.env, ETCDCTL_API: '3' } });

async function live(page, path) {
  await page.goto(site + path);
  await page.waitForFunction(() => document.body.dataset.live === 'yes');
  await page.evaluate(() => { window.same = true; });
}

const same = async (page) => assert.equal(await page.evaluate(() => window.same), true, 'the page was loaded again');

// Who answers so many calls to the service `web`.
async function calls(count) {
  const got = {};
  for (let i = 0; i < count; i += 1) {
    const body = await new Promise((resolve, reject) => {
      const [host, port] = proxy.split(':');
      http.get({ host, port, path: '/', headers: { host: 'web' } }, (answer) => {
        let text = '';
        answer.on('data', (data) => { text += data; });
        answer.on('end', () => resolve(text));
      }).on('error', reject);
    });
    const { instance } = JSON.parse(body);
    got[instance] = (got[instance] ?? 0) + 1;
  }
  return got;
}

// The row of the endpoint that is registered under this name.
const endpoint = (page, name) =>
  page.locator('#rows tr', { has: page.locator('td:first-child small', { hasText: new RegExp(`^${name}$`) }) });

const checks = {
  async 'a put appears without a reload, and a delete leaves'(page) {
    await live(page, '/services');
    etcd('put', '/services/arrives/1', '127.0.0.1:1');
    await page.getByRole('link', { name: 'arrives' }).waitFor();
    await live(page, '/service?name=arrives');
    etcd('put', '/services/arrives/2', '127.0.0.1:2');
    await page.getByText('127.0.0.1:2').waitFor();
    etcd('del', '/services/arrives/1');
    await page.getByText('127.0.0.1:1', { exact: true }).waitFor({ state: 'detached' });
    await same(page);
  },

  async 'a hostile name is text'(page) {
    etcd('put', '/services/<img src=x onerror=alert(1)>/1', '127.0.0.1:1');
    await live(page, '/services');
    await page.getByRole('link', { name: '<img src=x onerror=alert(1)>' }).click();
    await page.getByRole('heading', { name: '<img src=x onerror=alert(1)>' }).waitFor();
    etcd('del', '--prefix', '/services/<img');
  },

  async 'a lock and its waiter appear and hand over'(page) {
    await live(page, '/locks');
    const hold = () => spawn(etcdctl[0], [...etcdctl.slice(1), 'lock', '/locks/browser'], { env: { ...process.env, ETCDCTL_API: '3' } });
    const first = hold();
    const holder = page.locator('.queue', { hasText: '/locks/browser' }).locator('li.head code');
    await holder.waitFor();
    const key = await holder.textContent();
    const second = hold();
    try {
      const waiter = page.locator('.queue', { hasText: '/locks/browser' }).locator('li:not(.head) code');
      await waiter.waitFor();
      const next = await waiter.textContent();
      await page.locator('.queue progress').first().waitFor();
      if (shots) await page.screenshot({ path: `${shots}/locks.png` });
      first.kill('SIGINT');
      await page.waitForFunction(([was, is]) => document.querySelector('.queue li.head code')?.textContent === is && was !== is, [key, next]);
      await same(page);
    } finally {
      first.kill('SIGINT');
      second.kill('SIGINT');
    }
  },

  async 'filter, columns and keys work in place, and the address says so'(page) {
    await live(page, '/services');
    await page.keyboard.press('/');
    await page.keyboard.type('web');
    await page.waitForFunction(() => document.querySelectorAll('#rows tr:not(.gone)').length === 1);
    assert.match(page.url(), /\?q=web$/);
    await same(page);
    await page.keyboard.press('Escape');
    await page.locator('h1').click();
    await page.getByRole('link', { name: 'Calls/s' }).click();
    await page.waitForURL(/sort=-calls/);
    await page.locator('th[aria-sort=descending]').waitFor();
    await page.keyboard.press('?');
    await page.getByRole('dialog').waitFor();
    await page.keyboard.press('Escape');
    await page.keyboard.press('g');
    await page.keyboard.press('l');
    await page.waitForURL(`${site}/locks`);
  },

  async 'rows beyond the window come as one scrolls'(page) {
    const many = Array.from({ length: 120 }, (_, n) => `127.0.0.1:${2000 + n}`);
    many.forEach((address, n) => etcd('put', `/services/many/${n}`, address));
    await live(page, '/service?name=many');
    assert.equal(await page.locator('#rows tr').count(), 50);
    await page.locator('#more').scrollIntoViewIfNeeded();
    await page.waitForFunction(() => document.querySelectorAll('#rows tr').length === 120);
    await same(page);
    etcd('del', '--prefix', '/services/many/');
  },

  async 'many tabs share one connection'(page) {
    const tabs = [page];
    // A browser opens six connections to a host: with one each, the seventh tab would wait for ever.
    while (tabs.length < 8) tabs.push(await page.context().newPage());
    for (const tab of tabs) await live(tab, '/services');
    etcd('put', '/services/shared/1', '127.0.0.1:1');
    for (const tab of tabs) await tab.getByRole('link', { name: 'shared' }).waitFor();
    etcd('del', '/services/shared/1');
    for (const tab of tabs.slice(1)) await tab.close();
  },

  async 'a hidden page is not followed, and catches up'(page) {
    await live(page, '/service?name=web');
    const hide = (hidden) => page.evaluate((value) => {
      Object.defineProperty(document, 'hidden', { value, configurable: true });
      document.dispatchEvent(new Event('visibilitychange'));
    }, hidden);
    await hide(true);
    await sleep(300);
    etcd('put', '/services/web/hidden', 'http://127.0.0.1:9');
    await sleep(1500);
    assert.equal(await page.getByText('127.0.0.1:9').count(), 0);
    await hide(false);
    await page.getByText('127.0.0.1:9').waitFor();
    etcd('del', '/services/web/hidden');
    await same(page);
  },

  async 'a page that is not live says so, and comes back by itself'(page) {
    await live(page, '/services');
    process.kill(pid, 'SIGSTOP');
    try {
      await page.locator('#lost').waitFor();
    } finally {
      process.kill(pid, 'SIGCONT');
    }
    await page.locator('#lost').waitFor({ state: 'hidden', timeout: 40_000 });
    await same(page);
  },

  async 'the route of a request is told'(page) {
    await page.goto(`${site}/routes`);
    await page.getByLabel('Host or :authority').fill('web:80');
    await page.getByRole('button', { name: 'Find out' }).click();
    await page.getByRole('heading', { name: 'It goes to web' }).waitFor();
  },

  async 'who is not logged in is asked to, and the link logs in'(page) {
    await live(page, '/service?name=web');
    await page.getByRole('link', { name: 'Drain' }).first().click();
    await page.waitForURL(`${site}/login`);
    await page.goto(login);
    await page.waitForURL(`${site}/`);
    await page.goto(`${site}/login`);
    await page.getByText('You are logged in').waitFor();
  },

  async 'drain stops traffic, and undrain brings it back'(page) {
    await page.goto(login);
    await page.waitForURL(`${site}/`);
    await live(page, '/service?name=web');
    assert.deepEqual(Object.keys(await calls(10)).sort(), ['one', 'two']);
    const row = endpoint(page, 'one');
    await row.getByRole('link', { name: 'Drain' }).click();
    const panel = page.getByRole('dialog');
    await panel.getByText('gets no new calls').waitFor();
    if (shots) await page.screenshot({ path: `${shots}/drain.png` });
    await panel.getByRole('button', { name: 'Drain' }).click();
    await row.getByText('draining').waitFor();
    assert.deepEqual(await calls(10), { two: 10 });
    await row.getByRole('link', { name: 'Undrain' }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Take the order back' }).click();
    await row.getByText('healthy').first().waitFor();
    assert.deepEqual(Object.keys(await calls(10)).sort(), ['one', 'two']);
  },

  async 'a stale revision is refused with a clear message'(page) {
    await page.goto(login);
    await page.waitForURL(`${site}/`);
    await live(page, '/service?name=web');
    await endpoint(page, 'one').getByRole('link', { name: 'Drain' }).click();
    const button = page.getByRole('dialog').getByRole('button', { name: 'Drain' });
    await button.waitFor();
    const value = String(etcd('get', '--print-value-only', '/services/web/one')).trim();
    etcd('put', '/services/web/one', value.replace('"weight":1', '"weight":2'));
    await endpoint(page, 'one').locator('td.n').first().getByText('2').waitFor();
    await button.click();
    await page.getByText('changed since the page was shown, so nothing was done').waitFor();
  },

  async 'without scripts everything is there'() {
    const plain = await context({ javaScriptEnabled: false });
    const page = await plain.newPage();
    await page.goto(`${site}/services`);
    await page.getByLabel('Filter').fill('web');
    await page.getByRole('button', { name: 'Filter' }).click();
    await page.getByRole('link', { name: 'web' }).click();
    await page.getByRole('heading', { name: 'web' }).waitFor();
    await page.getByRole('link', { name: 'Weight' }).first().click();
    assert.match(page.url(), /sort=-weight/);
    await plain.close();
  },

  async 'nothing bars anybody, light, dark and narrow'() {
    for (const [name, options] of Object.entries({
      light: { colorScheme: 'light' },
      dark: { colorScheme: 'dark' },
      narrow: { colorScheme: 'light', viewport: { width: 360, height: 740 } },
    })) {
      const looking = await context(options);
      const page = await looking.newPage();
      await page.goto(login);
      await page.waitForURL(`${site}/`);
      for (const path of PAGES) {
        await page.goto(site + path);
        if (path !== '/login') await page.waitForFunction(() => document.body.dataset.live === 'yes');
        // Evaluated by the browser's debugger, which the pages' policy does not bind.
        await page.evaluate(`${(await import('node:fs')).readFileSync(axe, 'utf8')}; undefined`);
        const { violations } = await page.evaluate(() => window.axe.run(document, { resultTypes: ['violations'] }));
        const serious = violations.filter(({ impact }) => impact === 'serious' || impact === 'critical');
        const told = serious.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html.slice(0, 120)).join(' | ')}`);
        assert.deepEqual(told, [], `${name} ${path}`);
        const menu = await page.evaluate(() => Math.max(...[...document.querySelectorAll('nav a')].map((link) => link.getBoundingClientRect().right)));
        assert.ok(menu <= (options.viewport?.width ?? 1280), `${name} ${path}: the menu is cut`);
        const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
        assert.ok(wide <= 0, `${name} ${path}: wider than the window by ${wide}`);
        if (shots) await page.screenshot({ path: `${shots}/${name}-${path.split('?')[0].slice(1) || 'overview'}.png` });
      }
      await looking.close();
    }
  },
};

let failed = false;
const only = process.argv[3];
for (const [check, run] of Object.entries(checks)) {
  if (only && !check.includes(only)) continue;
  const own = await context();
  wrong.length = 0;
  let error = null;
  try {
    await run(await own.newPage());
    assert.deepEqual(wrong, [], 'errors on the pages');
  } catch (problem) {
    error = String(problem.stack ?? problem).slice(0, 3000);
    failed = true;
  }
  await own.close();
  console.log(JSON.stringify({ check, ok: !error, error }));
}
await browser.close();
process.exit(failed ? 1 : 0);
