//! Takes the kernel proper out of a bzImage.
//!
//! A bzImage unpacks itself in the guest, which under software emulation is a quarter of the whole
//! boot. QEMU can start the unpacked kernel directly, by its PVH entry (`PVH ELF note`,
//! xen/interface/elfnote.h in the kernel), so it is unpacked once, here. The bzImage's layout is in
//! the kernel's Documentation/arch/x86/boot.rst.
//!
//! Kernels that are packed otherwise than by LZ4 (Debian's way), or have no PVH entry, stay as they
//! are: they boot as well, only later.

use lz4_flex::block::decompress_into;

/// Magic number of an LZ4 stream in the legacy format, which is what the kernel's build writes.
const LZ4_LEGACY: [u8; 4] = 0x184c_2102_u32.to_le_bytes();

/// Most that one block of such a stream unpacks to.
const LZ4_BLOCK_BYTES: usize = 8 << 20;

/// A kernel larger than that is none.
const MAX_KERNEL_BYTES: usize = 512 << 20;

/// The ELF kernel in `image`, when it can be unpacked and QEMU can start it.
pub(crate) fn extract(image: &[u8]) -> Option<Vec<u8>> {
    let kernel = unpack(payload(image)?)?;
    has_pvh_entry(&kernel).then_some(kernel)
}

/// The packed kernel within a bzImage.
fn payload(image: &[u8]) -> Option<&[u8]> {
    if image.get(0x202..0x206)? != b"HdrS" || u16_at(image, 0x206)? < 0x0208 {
        return None;
    }
    let sectors = match *image.get(0x1f1)? {
        0 => 4,
        sectors => usize::from(sectors),
    };
    let start = (sectors + 1) * 512 + usize_at(image, 0x248)?;
    image.get(start..start.checked_add(usize_at(image, 0x24c)?)?)
}

/// Unpacks a legacy LZ4 stream, which is followed by the size of what is in it.
fn unpack(payload: &[u8]) -> Option<Vec<u8>> {
    let (stream, size) = payload.split_last_chunk::<4>()?;
    let size = usize::try_from(u32::from_le_bytes(*size)).ok()?;
    if size > MAX_KERNEL_BYTES {
        return None;
    }
    let mut rest = stream.strip_prefix(&LZ4_LEGACY)?;
    let mut kernel = Vec::with_capacity(size);
    let mut block = vec![0; LZ4_BLOCK_BYTES];
    while !rest.is_empty() {
        let (length, after) = rest.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
        let (packed, after) = after.split_at_checked(length)?;
        let count = decompress_into(packed, &mut block).ok()?;
        kernel.extend_from_slice(block.get(..count)?);
        rest = after;
    }
    (kernel.len() == size).then_some(kernel)
}

/// Whether a 64-bit ELF file has the note by which QEMU finds a kernel's PVH entry.
fn has_pvh_entry(kernel: &[u8]) -> bool {
    const PT_NOTE: u32 = 4;
    let notes = segments(kernel).filter(|(kind, _)| *kind == PT_NOTE);
    notes
        .into_iter()
        .any(|(_, content)| names_pvh(content).is_some())
}

/// Type and content of each segment of a 64-bit ELF file, as far as they can be read.
pub(crate) fn segments(file: &[u8]) -> impl Iterator<Item = (u32, &[u8])> {
    let table = || {
        let elf = file.starts_with(b"\x7fELF\x02\x01");
        let start = usize::try_from(u64_at(file, 32)?).ok()?;
        elf.then_some((start, usize::from(u16_at(file, 54)?), u16_at(file, 56)?))
    };
    let (start, size, count) = table().unwrap_or_default();
    (0..usize::from(count)).map_while(move |index| {
        let header = file.get(start.checked_add(index * size)?..)?;
        let offset = usize::try_from(u64_at(header, 8)?).ok()?;
        let length = usize::try_from(u64_at(header, 32)?).ok()?;
        let content = file
            .get(offset..offset.checked_add(length)?)
            .unwrap_or_default();
        Some((u32_at(header, 0)?, content))
    })
}

/// Looks through ELF notes for Xen's number 18 (XEN_ELFNOTE_PHYS32_ENTRY).
fn names_pvh(mut notes: &[u8]) -> Option<()> {
    const PHYS32_ENTRY: u32 = 18;
    loop {
        let name_length = usize_at(notes, 0)?;
        let content_length = usize_at(notes, 4)?;
        let kind = u32_at(notes, 8)?;
        let name = notes.get(12..12_usize.checked_add(name_length)?)?;
        if kind == PHYS32_ENTRY && name == b"Xen\0" {
            return Some(());
        }
        let whole = [name_length, content_length]
            .iter()
            .try_fold(12_usize, |sum, length| {
                sum.checked_add(length.checked_next_multiple_of(4)?)
            })?;
        notes = notes.get(whole..)?;
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn usize_at(bytes: &[u8], at: usize) -> Option<usize> {
    usize::try_from(u32_at(bytes, at)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// An ELF file with one note segment.
    fn kernel(kind: u32) -> Vec<u8> {
        let mut file = vec![0; 64 + 56];
        file[..6].copy_from_slice(b"\x7fELF\x02\x01");
        file[32..40].copy_from_slice(&64_u64.to_le_bytes());
        file[54..56].copy_from_slice(&56_u16.to_le_bytes());
        file[56..58].copy_from_slice(&1_u16.to_le_bytes());
        let other = [
            &6_u32.to_le_bytes()[..],
            &2_u32.to_le_bytes(),
            &1_u32.to_le_bytes(),
            b"Linux\0\0\0",
            b"xx\0\0",
        ]
        .concat();
        let entry = [
            &4_u32.to_le_bytes()[..],
            &4_u32.to_le_bytes(),
            &kind.to_le_bytes(),
            b"Xen\0",
            b"\0\0\0\x01",
        ]
        .concat();
        let notes = [other, entry].concat();
        file[64..68].copy_from_slice(&4_u32.to_le_bytes());
        file[72..80].copy_from_slice(&120_u64.to_le_bytes());
        file[96..104].copy_from_slice(&(notes.len() as u64).to_le_bytes());
        file.extend(notes);
        file
    }

    /// A bzImage around a kernel; literals only, in one block.
    fn image(kernel: &[u8]) -> Vec<u8> {
        let mut packed = vec![0xf0];
        let more = kernel.len() - 15;
        packed.extend(vec![255; more / 255]);
        packed.push((more % 255) as u8);
        packed.extend_from_slice(kernel);
        let mut payload = LZ4_LEGACY.to_vec();
        payload.extend((packed.len() as u32).to_le_bytes());
        payload.extend(packed);
        payload.extend((kernel.len() as u32).to_le_bytes());
        let mut image = vec![0; 2 * 512];
        image[0x1f1] = 1;
        image[0x202..0x206].copy_from_slice(b"HdrS");
        image[0x206..0x208].copy_from_slice(&0x020f_u16.to_le_bytes());
        image[0x24c..0x250].copy_from_slice(&(payload.len() as u32).to_le_bytes());
        image.extend(payload);
        image
    }

    #[test]
    fn a_kernel_with_a_pvh_entry_is_taken_out_and_no_other() {
        assert_eq!(extract(&image(&kernel(18))), Some(kernel(18)));
        assert_eq!(extract(&image(&kernel(17))), None);
        assert_eq!(extract(b"no kernel"), None);
        let mut zstd = image(&kernel(18));
        zstd[1024] = 0x28;
        assert_eq!(extract(&zstd), None);
    }

    proptest! {
        #[test]
        fn a_damaged_image_is_never_more_than_no_kernel(
            damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
            length in any::<prop::sample::Index>(),
        ) {
            let mut bytes = image(&kernel(18));
            for (place, value) in damage {
                let place = place.index(bytes.len());
                bytes[place] = value;
            }
            bytes.truncate(length.index(bytes.len()) + 1);
            let _kernel_or_none = extract(&bytes);
        }
    }
}
