// A pick policy without an SDK: of the endpoints that carry the tag "preferred" (of all, if none does), the one with the
// fewest exchanges under way; the first of these if there are several. Endpoints that the call has been at are left out.
typedef unsigned char u8;
typedef unsigned int u32;
typedef unsigned long long u64;

#define EXPORT(name) __attribute__((export_name(#name))) name
#define IMPORT(name) __attribute__((import_module("waypost"), import_name(#name))) name

extern int IMPORT(in_flight)(int index);
extern int IMPORT(is_tried)(int index);

#define PAGE 65536
extern u8 __heap_base;

static u32 count;
static u8 *preferred;

// One block at a time: the list of endpoints is all that is ever passed, and a new one replaces the old.
void *EXPORT(malloc)(u32 size) {
    u8 *block = (u8 *)(((u32)&__heap_base + 7) & ~7u);
    u64 end = (u64)(u32)block + size;
    u64 have = (u64)__builtin_wasm_memory_size(0) * PAGE;
    if (end > have && __builtin_wasm_memory_grow(0, (u32)((end - have + PAGE - 1) / PAGE)) == (__SIZE_TYPE__)-1) return 0;
    return block;
}

void EXPORT(waypost_policy_abi_1)(void) {}

static u32 number(const u8 **at) {
    u32 value = (*at)[0] | (*at)[1] << 8 | (*at)[2] << 16 | (u32)(*at)[3] << 24;
    *at += 4;
    return value;
}

static int text_is(const u8 **at, const char *wanted) {
    u32 length = number(at), same = 0;
    while (same < length && wanted[same] && (*at)[same] == (u8)wanted[same]) same++;
    *at += length;
    return same == length && !wanted[same];
}

void EXPORT(waypost_endpoints)(int context, u8 *data, u32 size) {
    const u8 *at = data;
    u32 listed = number(&at), any = 0;
    for (u32 index = 0; index < listed; index++) {
        at += 16; // id, weight, share, flags
        for (int texts = 0; texts < 4; texts++) text_is(&at, ""); // address, instance, version, zone
        u8 tagged = 0;
        for (u32 tags = number(&at); tags; tags--) tagged |= text_is(&at, "preferred");
        for (u32 texts = 2 * number(&at); texts; texts--) text_is(&at, "");
        // An endpoint takes 40 bytes at least, so what is written over the list has been read.
        data[index] = tagged;
        any |= tagged;
    }
    for (u32 index = 0; index < listed && !any; index++) data[index] = 1;
    count = listed;
    preferred = data;
}

int EXPORT(waypost_pick)(int context, u64 hash, u64 random, int attempt) {
    int best = -1, fewest = 0;
    for (u32 index = 0; index < count; index++) {
        if (!preferred[index] || (attempt && is_tried(index))) continue;
        int carried = in_flight(index);
        if (carried >= 0 && (best < 0 || carried < fewest)) {
            best = index;
            fewest = carried;
        }
    }
    return best;
}
