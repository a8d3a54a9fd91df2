"""Uses an etcd server through aetcd, in every way that services and their tools use one.

usage: etcd.py ADDRESS

Prints one line of JSON per check and exits with 1 if one fails. What it puts there is gone when it ends.
"""

import asyncio
import contextlib
import json
import sys
import time
import traceback
import uuid

import aetcd

# Seconds: for one call or event, and for one check.
PATIENCE = 5
LIMIT = 15

SERVICES = b"/services/python/"
ONE = SERVICES + b"one"


def same(value, expected):
    assert value == expected, f"{value!r:.500} instead of {expected!r:.500}"


async def refused(call, error, message):
    """Runs a call that must end with this very class of aetcd's errors."""
    try:
        await call
    except aetcd.ClientError as got:
        same(type(got), error)
        assert message in str(got), got
        return
    raise AssertionError(f"no error, instead of {error}")


async def pending(task):
    """Gives a task half a second, in which it must not end."""
    done, _ = await asyncio.wait([task], timeout=0.5)
    assert not done, f"it didn't wait: {task}"


class Watch:
    """The events of a prefix, one by one."""

    @classmethod
    async def start(cls, etcd, prefix, **more):
        self = cls()
        self.watch = await etcd.watch_prefix(prefix, **more)
        self.events = aiter(self.watch)
        return self

    async def event(self, patience=PATIENCE):
        return await asyncio.wait_for(anext(self.events), patience)

    async def sees_put(self, key, value, lease=0):
        event = await self.event()
        same((event.kind, event.kv.key, event.kv.value, event.kv.lease), ("PUT", key, value, lease))

    async def sees_delete(self, key, patience=PATIENCE):
        event = await self.event(patience)
        same((event.kind, event.kv.key, event.kv.value), ("DELETE", key, b""))

    async def end(self):
        await self.watch.cancel()


class KeepAlive:
    """Keeps a lease alive by refresh(), all that aetcd has for it: each opens a stream for one request."""

    def __init__(self, lease):
        self.lease = lease
        self.task = asyncio.create_task(self.run())

    async def run(self):
        while True:
            same((await self.lease.refresh()).TTL, self.lease.ttl)
            await asyncio.sleep(self.lease.ttl / 3)

    async def end(self):
        """Ends it; raises if the lease didn't live until now."""
        self.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.task


class Checks:
    """What the checks share: a registration that lives from the first to the last of them, and who watches it."""

    def __init__(self, etcd):
        self.etcd = etcd
        # All other keys of this run.
        self.folder = b"/clients/python/%s/" % uuid.uuid4().hex.encode()

    async def register(self):
        self.watch = await Watch.start(self.etcd, SERVICES)
        self.lease = await self.etcd.lease(5)
        same(self.lease.ttl, 5)
        same((await self.lease.refresh()).TTL, 5)
        self.keep_alive = KeepAlive(self.lease)
        await self.etcd.put(ONE, b"127.0.0.1:4001", lease=self.lease)
        got = await self.etcd.get(ONE)
        same((got.value, got.lease, got.version), (b"127.0.0.1:4001", self.lease.id, 1))
        same(list(await self.lease.keys()), [ONE])
        assert 3 <= await self.lease.remaining_ttl() <= 5

    async def watched(self):
        await self.watch.sees_put(ONE, b"127.0.0.1:4001", self.lease.id)
        same((await self.etcd.delete(ONE)).deleted, 1)
        await self.watch.sees_delete(ONE)
        await self.etcd.put(ONE, b"127.0.0.1:4002", lease=self.lease)
        await self.watch.sees_put(ONE, b"127.0.0.1:4002", self.lease.id)

    async def prefix(self):
        folder = self.folder + b"prefix/"
        for name in (b"b", b"c/d", b"a", b"\xff"):
            await self.etcd.put(folder + name, b"value of " + name)
        await self.etcd.put(self.folder + b"prefix0", b"just behind")
        keys = [folder + name for name in (b"a", b"b", b"c/d", b"\xff")]
        got = await self.etcd.get_prefix(folder)
        same([kv.key for kv in got], keys)
        same((got.count, got.more, got[0].value), (4, False, b"value of a"))
        same([kv.key for kv in await self.etcd.get_prefix(folder, sort_order="descend")], keys[::-1])
        created = await self.etcd.get_prefix(folder, sort_order="ascend", sort_target="create")
        same([kv.key for kv in created], [folder + name for name in (b"b", b"c/d", b"a", b"\xff")])
        same((await self.etcd.delete_prefix(folder)).deleted, 4)
        same(len(await self.etcd.get_prefix(folder)), 0)

    async def txn(self):
        key = self.folder + b"txn"
        await self.etcd.put(key, b"1")
        same(await self.etcd.replace(key, b"1", b"2"), True)
        same(await self.etcd.replace(key, b"1", b"3"), False)
        same((await self.etcd.get(key)).value, b"2")

        # All of it at one revision.
        other = self.folder + b"txn other"
        at = self.etcd.transactions
        succeeded, responses = await self.etcd.transaction(
            compare=[at.version(key) == 2, at.mod(key) > 0, at.create(other) == 0],
            success=[at.get(key), at.put(other, b"4"), at.delete(key)],
            failure=[],
        )
        same((succeeded, [value for value, _ in responses[0]]), (True, [b"2"]))
        same(responses[2].response_delete_range.deleted, 1)
        put = await self.etcd.get(other)
        same((put.value, put.mod_revision), (b"4", responses[1].response_put.header.revision))
        succeeded, responses = await self.etcd.transaction(
            compare=[at.create(key) != 0], success=[at.put(other, b"5")], failure=[at.get(key), at.get(other)]
        )
        same((succeeded, [[value for value, _ in found] for found in responses]), (False, [[], [b"4"]]))

    async def lock(self):
        first, second = (self.etcd.lock(self.folder + b"lock", ttl=30) for _ in range(2))
        same(await first.acquire(timeout=PATIENCE), True)
        same((await first.is_acquired(), await second.is_acquired()), (True, False))
        waiter = asyncio.create_task(second.acquire(timeout=LIMIT))
        await pending(waiter)
        same(await first.release(), True)
        same(await asyncio.wait_for(waiter, PATIENCE), True)
        same((await first.is_acquired(), await second.is_acquired()), (False, True))
        same(await first.acquire(timeout=0.5), False)
        same(await second.release(), True)

    async def kept_alive(self):
        key = self.folder + b"kept alive"
        watch = await Watch.start(self.etcd, key)
        lease = await self.etcd.lease(2)
        await self.etcd.put(key, b"", lease=lease)
        keep_alive = KeepAlive(lease)
        await asyncio.sleep(4)
        same((await self.etcd.get(key)).lease, lease.id)
        await keep_alive.end()
        # Nobody keeps it any more, so it ends by itself.
        await watch.sees_put(key, b"", lease.id)
        await watch.sees_delete(key, patience=8)
        same(await self.etcd.get(key), None)
        await watch.end()

    async def lease_end(self):
        # By now it has lived longer than 5 s.
        same((await self.etcd.get(ONE)).lease, self.lease.id)
        await self.keep_alive.end()
        await self.lease.revoke()
        await self.watch.sees_delete(ONE)
        same(await self.etcd.get(ONE), None)
        same((await self.lease.refresh()).TTL, 0)
        same(await self.lease.remaining_ttl(), -1)
        await self.watch.end()

    async def history(self):
        key = self.folder + b"history"
        await self.etcd.put(key, b"1")
        revision = (await self.etcd.put(key, b"2")).header.revision
        await self.etcd.delete(key)
        await self.etcd.put(key, b"3")
        watch = await Watch.start(self.etcd, key, start_revision=revision, prev_kv=True)
        event = await watch.event()
        same((event.kv.value, event.kv.mod_revision, event.kv.version), (b"2", revision, 2))
        same(event.prev_kv.value, b"1")
        event = await watch.event()
        same((event.kind, event.prev_kv.value), ("DELETE", b"2"))
        await watch.sees_put(key, b"3")
        # What happens now follows.
        await self.etcd.put(key, b"4")
        await watch.sees_put(key, b"4")
        await watch.end()
        # A watch without deletes.
        watch = await Watch.start(self.etcd, key, start_revision=revision, kind=aetcd.EventKind.PUT)
        for value in (b"2", b"3", b"4"):
            await watch.sees_put(key, value)
        await watch.end()

    async def errors(self):
        key = self.folder + b"errors"
        lease = await self.etcd.lease(60)
        await refused(self.etcd.lease(60, lease_id=lease.id), aetcd.DuplicateLeaseError, "")
        await lease.revoke()
        missing = "etcdserver: requested lease not found"
        await refused(self.etcd.put(key, b"", lease=lease), aetcd.ClientError, missing)
        await refused(lease.revoke(), aetcd.ClientError, missing)
        await refused(self.etcd.put(b"", b""), aetcd.InvalidArgumentError, "etcdserver: key is not provided")
        at = self.etcd.transactions
        twice = self.etcd.transaction(compare=[], success=[at.put(key, b"1"), at.delete(key)], failure=[])
        await refused(twice, aetcd.InvalidArgumentError, "etcdserver: duplicate key given in txn request")
        same(await self.etcd.get(key), None)

    async def end(self):
        await self.etcd.delete_prefix(self.folder)


async def main():
    host, port = sys.argv[1].rsplit(":", 1)
    # No proxy of the environment may come between.
    options = {"grpc.enable_http_proxy": 0}
    failed = False
    async with aetcd.Client(host, int(port), timeout=PATIENCE, options=options) as etcd:
        checks = Checks(etcd)
        for name, check in {
            "register": checks.register,
            "watch": checks.watched,
            "prefix": checks.prefix,
            "txn": checks.txn,
            "lock": checks.lock,
            "keep-alive": checks.kept_alive,
            "lease end": checks.lease_end,
            "history": checks.history,
            "errors": checks.errors,
        }.items():
            start = time.monotonic()
            line = {"check": name, "ok": True}
            try:
                await asyncio.wait_for(check(), LIMIT)
            except Exception:  # whatever it was: it is told, and the next check runs
                failed = True
                line |= {"ok": False, "error": traceback.format_exc()}
            line["ms"] = round(1000 * (time.monotonic() - start))
            print(json.dumps(line), flush=True)
        await checks.end()
    sys.exit(failed)


asyncio.run(main())
