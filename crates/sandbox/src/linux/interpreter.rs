//! What the kernel's interpreter would answer to a filter (Documentation/networking/filter.rst): so that filters are
//! tested on every machine, those of another processor too.

/// A filter's instruction: code, jumps if true and if false, and the constant.
pub(crate) type Instruction = (u16, u8, u8, u32);

/// Runs a filter over a call.
pub(crate) fn run(program: &[Instruction], arch: u32, number: u32, arguments: [u64; 6]) -> u32 {
    // struct seccomp_data (linux/seccomp.h).
    let mut data = Vec::new();
    data.extend(number.to_ne_bytes());
    data.extend(arch.to_ne_bytes());
    data.extend(0u64.to_ne_bytes());
    arguments
        .iter()
        .for_each(|argument| data.extend(argument.to_ne_bytes()));
    let (mut at, mut accumulator) = (0, 0u32);
    loop {
        let (code, jump_true, jump_false, k) = program[at];
        at += 1;
        let holds = match code {
            0x20 => {
                let offset = k as usize;
                accumulator = u32::from_ne_bytes(data[offset..offset + 4].try_into().unwrap());
                continue;
            }
            0x54 => {
                accumulator &= k;
                continue;
            }
            0x05 => {
                at += k as usize;
                continue;
            }
            0x06 => return k,
            0x15 => accumulator == k,
            0x25 => accumulator > k,
            0x35 => accumulator >= k,
            0x45 => accumulator & k != 0,
            other => panic!("instruction {other:#x}"),
        };
        at += usize::from(if holds { jump_true } else { jump_false });
    }
}
