//! The Huffman code of strings (RFC 7541 5.2 and appendix B), read only.

use super::Invalid;

/// The end of a string, which is never written out.
const EOS: usize = 256;
const LONGEST: usize = 30;

/// The length in bits of the code of each symbol. The codes follow from it: they ascend with the length, and within one
/// length with the symbol.
#[rustfmt::skip]
pub(super) const LENGTHS: [u8; EOS + 1] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28,
    28, 28, 28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6,
    5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7,
    7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23,
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20, 22, 22, 23, 23, 21,
    23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24,
    21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, 30,
];

static CODE: Code = Code::new();

/// What a decoder needs of the code.
struct Code {
    /// The symbol, and the length of its code, for each byte that begins with a whole code. The length is 0 where the
    /// code is longer than a byte.
    short: [(u8, u8); 256],
    /// The symbols, in the order of their codes.
    ordered: [u16; EOS + 1],
    /// For each length: the first code, where its symbol is in `ordered`, and how many codes there are.
    lengths: [Run; LONGEST + 1],
}

#[derive(Clone, Copy)]
struct Run {
    first: u32,
    start: u16,
    count: u16,
}

impl Code {
    const fn new() -> Self {
        let mut code = Self {
            short: [(0, 0); 256],
            ordered: [0; EOS + 1],
            lengths: [Run { first: 0, start: 0, count: 0 }; LONGEST + 1],
        };
        let (mut next, mut placed) = (0_u32, 0_u16);
        let mut length = 1;
        while length <= LONGEST {
            next <<= 1;
            code.lengths[length] = Run { first: next, start: placed, count: 0 };
            let mut symbol = 0_u16;
            while symbol as usize <= EOS {
                if LENGTHS[symbol as usize] as usize == length {
                    code.ordered[placed as usize] = symbol;
                    placed += 1;
                    code.lengths[length].count += 1;
                    let mut tail = 0;
                    while length <= 8 && tail < 1 << (8 - length) {
                        code.short[((next as usize) << (8 - length)) | tail] = (symbol as u8, length as u8);
                        tail += 1;
                    }
                    next += 1;
                }
                symbol += 1;
            }
            length += 1;
        }
        code
    }

    /// The symbol, and the length of its code, at the beginning of `bits`, if the code is longer than a byte.
    fn long(&self, bits: u64) -> Option<(u8, u8)> {
        for length in 9_u8..=30 {
            let run = self.lengths[usize::from(length)];
            let code = (bits >> (64 - length)) as u32;
            if let Some(past) = code.checked_sub(run.first)
                && past < u32::from(run.count)
            {
                let symbol = self.ordered[usize::from(run.start) + past as usize];
                return Some((u8::try_from(symbol).ok()?, length));
            }
        }
        None
    }
}

/// Decodes a string into `out`, in place of what was there.
///
/// # Errors
///
/// If it has an EOS, or a padding of more than 7 bits or of other bits than ones.
pub(super) fn decode(mut coded: &[u8], out: &mut Vec<u8>) -> Result<(), Invalid> {
    // No code is shorter than 5 bits.
    out.clear();
    out.resize(coded.len() * 8 / 5, 0);
    let mut written = 0;
    // The next `held` bits, from the highest on; below them are zeros, or bits that come next and will be set again.
    let (mut bits, mut held) = (0_u64, 0_u8);
    loop {
        if let Some(word) = coded.first_chunk::<8>() {
            bits |= u64::from_be_bytes(*word) >> held;
            let whole = (64 - held) / 8;
            coded = &coded[usize::from(whole)..];
            held += 8 * whole;
        } else {
            while held <= 56
                && let [byte, after @ ..] = coded
            {
                bits |= u64::from(*byte) << (56 - held);
                held += 8;
                coded = after;
            }
        }
        if held < 8 && bits == !(u64::MAX.checked_shr(held.into()).unwrap_or(0)) {
            break;
        }
        // Every code is shorter than what is held, but for the end of the input.
        loop {
            let (symbol, length) = match CODE.short[(bits >> 56) as usize] {
                (_, 0) => CODE.long(bits).ok_or(Invalid)?,
                short => short,
            };
            if length > held {
                return Err(Invalid);
            }
            *out.get_mut(written).ok_or(Invalid)? = symbol;
            written += 1;
            bits <<= length;
            held -= length;
            if held < 30 {
                break;
            }
        }
    }
    out.truncate(written);
    Ok(())
}
