// Uses an etcd server through etcd3, in every way that services and their tools use one.
//
// usage: node etcd.js ADDRESS
//
// Prints one line of JSON per check and exits with 1 if one fails. What it puts there is gone when it ends.

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { on, once } from 'node:events';
import { createRequire } from 'node:module';
import { setTimeout as sleep } from 'node:timers/promises';

// Where `make setup-test` installs it: nothing fetched lies beside the sources.
const { Etcd3, EtcdLeaseInvalidError, EtcdLockFailedError, GRPCInvalidArgumentError } =
  createRequire(new URL('../../../.tools/node/', import.meta.url))('etcd3');

// Milliseconds: for one call or event, and for one check.
const PATIENCE = 5000;
const LIMIT = 15000;

const SERVICES = '/services/node/';
const ONE = `${SERVICES}one`;
// All other keys of this run.
const folder = `/clients/node/${randomUUID()}/`;

const etcd = new Etcd3({
  hosts: process.argv[2],
  // No proxy of the environment may come between.
  grpcOptions: { 'grpc.enable_http_proxy': 0 },
  defaultCallOptions: ({ isStream }) => (isStream ? {} : { deadline: Date.now() + PATIENCE }),
});

const within = async (ms, promise) => {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`nothing came for ${ms} ms`)), ms);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
};

// Gives a promise half a second, in which it must not be settled.
const pending = async (promise) => assert.equal(await Promise.race([promise, sleep(500, 'waits')]), 'waits');

// The events of a watch, one by one.
class Watch {
  static async start(builder) {
    const watch = new Watch();
    // Not create(): then a replay could come before anybody listens.
    watch.watcher = builder.watcher();
    watch.responses = on(watch.watcher, 'data');
    watch.events = [];
    await within(PATIENCE, once(watch.watcher, 'connected'));
    return watch;
  }

  async event(patience = PATIENCE) {
    while (this.events.length === 0) {
      const { value: [response] } = await within(patience, this.responses.next());
      this.events.push(...response.events);
    }
    return this.events.shift();
  }

  async seesPut(key, value, lease = '0') {
    const { type, kv } = await this.event();
    assert.deepEqual([type, String(kv.key), String(kv.value), kv.lease], ['Put', key, value, lease]);
  }

  async seesDelete(key, patience = PATIENCE) {
    const { type, kv } = await this.event(patience);
    assert.deepEqual([type, String(kv.key), String(kv.value)], ['Delete', key, '']);
  }

  async end() {
    await within(PATIENCE, this.watcher.cancel());
  }
}

// What the checks share: a registration that lives from the first to the last of them, and who watches it.
const registration = {};

const checks = {
  async register() {
    registration.watch = await Watch.start(etcd.watch().prefix(SERVICES));
    // etcd3 keeps its leases alive.
    const lease = etcd.lease(5);
    registration.lease = lease;
    lease.on('lost', (error) => { registration.lost = error; });
    const kept = once(lease, 'keepaliveSucceeded');
    registration.id = await lease.grant();
    await lease.put(ONE).value('127.0.0.1:4001');
    const [response] = await within(PATIENCE, kept);
    assert.deepEqual([response.ID, response.TTL], [registration.id, '5']);
    const [kv] = (await etcd.get(ONE).exec()).kvs;
    assert.deepEqual([String(kv.value), kv.lease, kv.version], ['127.0.0.1:4001', registration.id, '1']);
    const info = await etcd.leaseClient.leaseTimeToLive({ ID: registration.id, keys: true });
    assert.deepEqual(info.keys.map(String), [ONE]);
    assert.ok(info.TTL >= 3 && info.TTL <= 5 && info.grantedTTL === '5', JSON.stringify(info));
  },

  async watch() {
    const { watch, lease, id } = registration;
    await watch.seesPut(ONE, '127.0.0.1:4001', id);
    assert.equal((await etcd.delete().key(ONE)).deleted, '1');
    await watch.seesDelete(ONE);
    await lease.put(ONE).value('127.0.0.1:4002');
    await watch.seesPut(ONE, '127.0.0.1:4002', id);
  },

  async prefix() {
    const at = `${folder}prefix/`;
    const put = ['b', 'c/d', 'a', 'é'];
    for (const name of put) await etcd.put(at + name).value(`value of ${name}`);
    await etcd.put(`${folder}prefix0`).value('just behind');
    const keys = ['a', 'b', 'c/d', 'é'].map((name) => at + name);
    const all = () => etcd.getAll().prefix(at);
    assert.deepEqual(await all().keys(), keys);
    assert.equal((await all().strings())[`${at}a`], 'value of a');
    assert.deepEqual(await all().sort('Key', 'Descend').keys(), [...keys].reverse());
    assert.deepEqual(await all().sort('Create', 'Ascend').keys(), put.map((name) => at + name));
    const { kvs, more, count } = await all().limit(3).exec();
    assert.deepEqual([kvs.length, more, count], [3, true, '4']);
    assert.equal((await etcd.delete().prefix(at)).deleted, '4');
    assert.equal(await all().count(), 0);
  },

  async txn() {
    const key = `${folder}txn`;
    await etcd.put(key).value('1');
    const swap = (from, to) =>
      etcd.if(key, 'Value', '==', from).then(etcd.put(key).value(to)).else(etcd.get(key)).commit();
    assert.equal((await swap('1', '2')).succeeded, true);
    const { succeeded, responses } = await swap('1', '3');
    assert.equal(succeeded, false);
    assert.equal(String(responses[0].response_range.kvs[0].value), '2');
    assert.equal(await etcd.get(key), '2');

    // All of it at one revision.
    const other = `${folder}txn other`;
    const done = await etcd.if(key, 'Version', '==', 2).and(key, 'Mod', '>', 0).and(other, 'Create', '==', 0)
      .then(etcd.get(key), etcd.put(other).value('4'), etcd.delete().key(key))
      .commit();
    assert.equal(done.succeeded, true);
    assert.equal(String(done.responses[0].response_range.kvs[0].value), '2');
    assert.equal(done.responses[2].response_delete_range.deleted, '1');
    assert.equal(await etcd.get(key), null);
    const [kv] = (await etcd.get(other).exec()).kvs;
    assert.deepEqual([String(kv.value), kv.mod_revision], ['4', done.header.revision]);
  },

  async lock() {
    const key = `${folder}lock`;
    const first = await etcd.lock(key).ttl(30).acquire();
    // etcd3's lock doesn't wait.
    await assert.rejects(etcd.lock(key).ttl(30).acquire(), EtcdLockFailedError);
    await first.release();
    const second = await etcd.lock(key).ttl(30).acquire();
    await assert.rejects(etcd.lock(key).do(() => assert.fail('two have the lock')), EtcdLockFailedError);
    await second.release();
    assert.equal(await etcd.lock(key).do(() => 'mine'), 'mine');
  },

  async 'keep-alive'() {
    const key = `${folder}kept alive`;
    const watch = await Watch.start(etcd.watch().key(key));
    const lease = etcd.lease(2);
    let kept = 0;
    lease.on('keepaliveSucceeded', () => { kept += 1; });
    const id = await lease.grant();
    await lease.put(key).value('');
    await sleep(4000);
    assert.equal((await etcd.get(key).exec()).kvs[0].lease, id);
    assert.ok(kept >= 3 && !lease.revoked(), `kept alive ${kept} times`);
    // Nobody keeps it any more, so it ends by itself.
    lease.release();
    await watch.seesPut(key, '', id);
    await watch.seesDelete(key, 8000);
    assert.equal(await etcd.get(key), null);
    await watch.end();
  },

  async 'lease end'() {
    const { watch, lease, id, lost } = registration;
    // By now it has lived longer than 5 s.
    assert.equal(lost, undefined);
    assert.equal((await etcd.get(ONE).exec()).kvs[0].lease, id);
    await lease.revoke();
    await watch.seesDelete(ONE);
    assert.equal(await etcd.get(ONE), null);
    assert.equal((await etcd.leaseClient.leaseTimeToLive({ ID: id })).TTL, '-1');
    await assert.rejects(lease.keepaliveOnce(), EtcdLeaseInvalidError);
    await watch.end();
  },

  async history() {
    const key = `${folder}history`;
    await etcd.put(key).value('1');
    const { revision } = (await etcd.put(key).value('2')).header;
    await etcd.delete().key(key);
    await etcd.put(key).value('3');
    const watch = await Watch.start(etcd.watch().key(key).startRevision(revision).withPreviousKV());
    const second = await watch.event();
    assert.deepEqual([String(second.kv.value), second.kv.mod_revision, second.kv.version], ['2', revision, '2']);
    assert.equal(String(second.prev_kv.value), '1');
    const deleted = await watch.event();
    assert.deepEqual([deleted.type, String(deleted.prev_kv.value)], ['Delete', '2']);
    await watch.seesPut(key, '3');
    // What happens now follows.
    await etcd.put(key).value('4');
    await watch.seesPut(key, '4');
    await watch.end();
    // A watch without deletes.
    const puts = await Watch.start(etcd.watch().key(key).startRevision(revision).only('put'));
    for (const value of ['2', '3', '4']) await puts.seesPut(key, value);
    await puts.end();
  },

  async errors() {
    const key = `${folder}errors`;
    const lease = etcd.lease(60);
    const id = await lease.grant();
    await lease.revoke();
    await assert.rejects(async () => etcd.put(key).value('').lease(id), EtcdLeaseInvalidError);
    await assert.rejects(async () => etcd.leaseClient.leaseRevoke({ ID: id }), EtcdLeaseInvalidError);
    const lost = once(lease, 'lost');
    await assert.rejects(async () => lease.put(key).value(''), EtcdLeaseInvalidError);
    await within(PATIENCE, lost);
    await assert.rejects(async () => etcd.put('').value(''), GRPCInvalidArgumentError);
    const twice = etcd.if(key, 'Version', '==', 0).then(etcd.put(key).value('1'), etcd.delete().key(key)).commit();
    await assert.rejects(twice, GRPCInvalidArgumentError);
    assert.equal(await etcd.get(key), null);
  },

  async election() {
    const election = etcd.election(randomUUID(), 5);
    const observer = await within(PATIENCE, election.observe());
    const changes = on(observer, 'change');
    const change = async () => (await within(PATIENCE, changes.next())).value[0];
    assert.equal(observer.leader(), undefined);
    const one = election.campaign('one');
    await within(PATIENCE, one.wait());
    assert.equal(await change(), 'one');
    const two = election.campaign('two');
    const elected = two.wait();
    await pending(elected);
    await one.proclaim('still one');
    assert.equal(await change(), 'still one');
    assert.equal(await election.leader(), 'still one');
    await one.resign();
    await within(PATIENCE, elected);
    assert.equal(await change(), 'two');
    assert.equal(await election.leader(), 'two');
    await two.resign();
    assert.equal(await change(), undefined);
    await within(PATIENCE, observer.cancel());
    assert.equal(await election.leader(), undefined);
  },
};

for (const [check, run] of Object.entries(checks)) {
  const start = Date.now();
  const line = { check, ok: true };
  try {
    await within(LIMIT, run());
  } catch (error) {
    // Whatever it was: it is told, and the next check runs.
    process.exitCode = 1;
    Object.assign(line, { ok: false, error: error.stack });
  }
  console.log(JSON.stringify({ ...line, ms: Date.now() - start }));
}
await etcd.delete().prefix(folder);
etcd.close();
// Watches and leases of checks that failed would go on.
if (process.exitCode) process.exit();
