// Calls the test service with @grpc/grpc-js, in every way that a client calls one.
//
// usage: node scenarios.js ADDRESS SERVICE [--proxy]
//
// Prints one line of JSON per check and exits with 1 if one fails. With --proxy, a service that nobody registered is
// called too.

import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { setTimeout as sleep } from 'node:timers/promises';

// Where `make setup-test` installs it: nothing fetched lies beside the sources.
const grpc = createRequire(new URL('../../../.tools/node/', import.meta.url))('@grpc/grpc-js');

const [address, service, flag] = process.argv.slice(2);
const BIG = 20 * 1000 * 1000;

// The test service; its messages are bytes, so nothing is generated.
const same = (message) => message;
const method = (name, requestStream, responseStream) => ({
  path: `/waypost.test.Echo/${name}`,
  requestStream,
  responseStream,
  requestSerialize: same,
  requestDeserialize: same,
  responseSerialize: same,
  responseDeserialize: same,
});
const Echo = grpc.makeGenericClientConstructor({
  unary: method('Unary', false, false),
  client: method('Client', true, false),
  server: method('Server', false, true),
  bidi: method('Bidi', true, true),
  cancelled: method('Cancelled', false, false),
}, 'waypost.test.Echo');

const connect = (authority) => new Echo(address, grpc.credentials.createInsecure(), {
  'grpc.default_authority': authority,
  'grpc.max_receive_message_length': -1,
  'grpc.max_send_message_length': -1,
  'grpc.enable_retries': 0,
  // No proxy of the environment may come between.
  'grpc.enable_http_proxy': 0,
});
const echo = connect(service);

const within = (ms) => ({ deadline: Date.now() + ms });
const bytes = (text) => Buffer.from(text);
const headers = (entries) => {
  const metadata = new grpc.Metadata();
  for (const [key, value] of entries) metadata.add(key, value);
  return metadata;
};

// A call with one response: its message, metadata and trailers.
const single = (start) => new Promise((resolve, reject) => {
  const got = {};
  const call = start((error, message) => {
    if (error) reject(error);
    else got.message = message;
  });
  call.on('metadata', (metadata) => { got.metadata = metadata; });
  call.on('status', (status) => {
    if (status.code === grpc.status.OK) resolve({ ...got, trailers: status.metadata });
  });
});
const unaryCall = (message, entries = [], options = within(10000), client = echo) =>
  single((done) => client.unary(message, headers(entries), options, done));
const all = async (stream) => {
  const messages = [];
  for await (const message of stream) messages.push(message);
  return messages;
};
const refused = async (promise, code) => {
  const error = await promise.then(() => assert.fail('no error'), (error) => error);
  assert.equal(error.code, code, error.stack);
  return error;
};
const values = (metadata, prefix) =>
  Object.keys(metadata.getMap()).filter((key) => key.startsWith(prefix)).sort().map((key) => [key, metadata.get(key)]);

const checks = {
  async unary() {
    assert.deepEqual((await unaryCall(bytes('hello'))).message, bytes('hello'));
    assert.deepEqual((await unaryCall(bytes(''))).message, bytes(''));
  },

  async 'client stream'() {
    const { message } = await single((done) => {
      const call = echo.client(headers([]), within(10000), done);
      for (const part of ['a', 'bc', '']) call.write(bytes(part));
      call.end();
      return call;
    });
    assert.equal(message.toString(), '3 3');
  },

  async 'server stream'() {
    const entries = [['x-count', '5'], ['x-interval-ms', '10']];
    const messages = await all(echo.server(bytes('m'), headers(entries), within(10000)));
    assert.deepEqual(messages, Array(5).fill(bytes('m')));
  },

  async 'bidi stream'() {
    const sent = Array.from({ length: 100 }, (_, at) => Buffer.alloc(at, at));
    const call = echo.bidi(headers([]), within(10000));
    for (const message of sent) call.write(message);
    call.end();
    assert.deepEqual(await all(call), sent);
  },

  // Each message is sent only after the one before it came back.
  async interleaved() {
    const call = echo.bidi(headers([]), within(20000));
    call.write(bytes('0'));
    let at = 0;
    for await (const message of call) {
      assert.equal(message.toString(), String(at));
      at += 1;
      if (at < 20) call.write(bytes(String(at)));
      else call.end();
    }
    assert.equal(at, 20);
  },

  async metadata() {
    const raw = Buffer.from(Array.from({ length: 256 }, (_, at) => at));
    const sent = [['x-echo-raw-bin', raw], ['x-echo-text', 'a b, c'], ['x-echo-twice', '1'], ['x-echo-twice', '2']];
    const { metadata } = await unaryCall(bytes(''), sent);
    const got = values(metadata, 'x-echo-');
    assert.deepEqual(got[0], ['x-echo-raw-bin', [raw]]);
    assert.deepEqual(got[1], ['x-echo-text', ['a b, c']]);
    // Node's HTTP/2 joins what came twice.
    assert.equal(got[2][1].join(', '), '1, 2');
  },

  async trailers() {
    const raw = Buffer.from([0, 255, 10]);
    const { trailers } = await unaryCall(bytes(''), [['x-trailer-raw-bin', raw], ['x-trailer-text', 't']]);
    assert.deepEqual(values(trailers, 'x-trailer-'), [['x-trailer-raw-bin', [raw]], ['x-trailer-text', ['t']]]);
  },

  async 'error status'() {
    const details = Buffer.from('\x08\x09\x12\x02no');
    const sent = [['x-status', '9'], ['x-message', '50%25 of caf%C3%A9'], ['x-details-bin', details], ['x-trailer-more', '1']];
    const error = await refused(unaryCall(bytes(''), sent), grpc.status.FAILED_PRECONDITION);
    assert.equal(error.details, '50% of café');
    assert.deepEqual(error.metadata.get('grpc-status-details-bin'), [details]);
    assert.deepEqual(error.metadata.get('x-trailer-more'), ['1']);
    // An error after messages comes in the trailers.
    const got = [];
    const stream = echo.server(bytes('m'), headers([['x-status', '10'], ['x-count', '2']]), within(10000));
    stream.on('data', (message) => got.push(message.toString()));
    await refused(new Promise((resolve, reject) => stream.on('end', resolve).on('error', reject)), grpc.status.ABORTED);
    assert.deepEqual(got, ['m', 'm']);
  },

  async deadline() {
    const slow = headers([['x-count', '9'], ['x-interval-ms', '200']]);
    const calls = [
      () => unaryCall(bytes(''), [['x-delay-ms', '20000']], within(500)),
      () => all(echo.server(bytes(''), slow, within(500))),
    ];
    for (const call of calls) {
      const start = Date.now();
      await refused(call(), grpc.status.DEADLINE_EXCEEDED);
      const took = Date.now() - start;
      assert.ok(took > 400 && took < 3000, `it took ${took} ms`);
    }
  },

  async cancel() {
    const cancelled = async () =>
      Number((await single((done) => echo.cancelled(bytes(''), headers([]), within(10000), done))).message.toString());
    const waitFor = async (count) => {
      const end = Date.now() + 10000;
      while (await cancelled() < count) {
        assert.ok(Date.now() < end, "the server doesn't know of it");
        await sleep(10);
      }
    };
    const before = await cancelled();
    const stream = echo.server(bytes('m'), headers([['x-count', '1000'], ['x-interval-ms', '100']]));
    const ended = refused(new Promise((resolve, reject) => stream.on('end', resolve).on('error', reject)), grpc.status.CANCELLED);
    stream.once('data', () => stream.cancel());
    await ended;
    await waitFor(before + 1);

    let call;
    const slow = single((done) => (call = echo.unary(bytes(''), headers([['x-delay-ms', '60000']]), done)));
    const gone = refused(slow, grpc.status.CANCELLED);
    await sleep(300);
    call.cancel();
    await gone;
    await waitFor(before + 2);
  },

  async 'big messages'() {
    const message = Buffer.alloc(BIG, 'waypost');
    assert.ok((await unaryCall(message, [], within(60000))).message.equals(message));
    const call = echo.bidi(headers([]), within(60000));
    call.write(message);
    call.end();
    const messages = await all(call);
    assert.ok(messages.length === 1 && messages[0].equals(message));
  },

  async parallel() {
    const calls = Array.from({ length: 1000 }, (_, at) => unaryCall(bytes(String(at)), [], within(30000)));
    const messages = (await Promise.all(calls)).map(({ message }) => message.toString());
    assert.deepEqual(messages, messages.map((_, at) => String(at)));
  },
};

if (flag === '--proxy') {
  checks['unknown service'] = async () => {
    const other = connect('nobody-registered-this');
    const error = await refused(unaryCall(bytes(''), [], within(10000), other), grpc.status.UNAVAILABLE);
    assert.match(error.details, /nobody-registered-this/);
    other.close();
  };
}

for (const [check, run] of Object.entries(checks)) {
  const start = Date.now();
  const line = { check, ok: true };
  try {
    await run();
  } catch (error) {
    // Whatever it was: it is told, and the next check runs.
    process.exitCode = 1;
    Object.assign(line, { ok: false, error: error.stack });
  }
  console.log(JSON.stringify({ ...line, ms: Date.now() - start }));
}
echo.close();
