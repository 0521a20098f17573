//! A look at an ELF file's headers before the system's loader maps it: a shared library that is shorter than its headers say
//! would kill the process with SIGBUS.

/// What is wrong with a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ElfError {
    NotALibrary(String),
    Truncated { expected: u64 },
}

#[cfg(target_arch = "x86_64")]
const MACHINE: u16 = 62;
#[cfg(target_arch = "aarch64")]
const MACHINE: u16 = 183;

const HEADER_SIZE: u64 = 64;
const TYPE_SHARED: u16 = 3;
const SEGMENT_LOAD: u32 = 1;
const SECTION_NO_BITS: u32 = 8;

/// Whether `bytes` are a whole 64-bit little-endian shared library for this machine.
pub(super) fn check(bytes: &[u8]) -> Result<(), ElfError> {
    let not_a_library = |reason: &str| Err(ElfError::NotALibrary(reason.to_owned()));
    if bytes.is_empty() {
        return not_a_library("the file is empty");
    }
    if !bytes.starts_with(b"\x7fELF") {
        return not_a_library("it does not start with the ELF magic number");
    }
    fits(bytes, HEADER_SIZE)?;
    if bytes[4] != 2 || bytes[5] != 1 {
        return not_a_library("it is not a 64-bit little-endian ELF file");
    }
    if u16_at(bytes, 16) != TYPE_SHARED {
        return not_a_library("it is an ELF file, but not a shared library");
    }
    if u16_at(bytes, 18) != MACHINE {
        return not_a_library("it was built for another processor");
    }
    let (segments, sections) = (u64_at(bytes, 32), u64_at(bytes, 40));
    let (segment_size, num_segments) = (u16_at(bytes, 54), u16_at(bytes, 56));
    let (section_size, num_sections) = (u16_at(bytes, 58), u16_at(bytes, 60));
    if num_segments == 0 || segment_size < 56 || (num_sections > 0 && section_size < 64) {
        return not_a_library("its header tables make no sense");
    }
    fits_at(
        bytes,
        segments,
        u64::from(segment_size) * u64::from(num_segments),
    )?;
    fits_at(
        bytes,
        sections,
        u64::from(section_size) * u64::from(num_sections),
    )?;
    // Both tables are inside the file now, so indexing them is safe.
    for index in 0..usize::from(num_segments) {
        let at = segments as usize + index * usize::from(segment_size);
        if u32_at(bytes, at) == SEGMENT_LOAD {
            fits_at(bytes, u64_at(bytes, at + 8), u64_at(bytes, at + 32))?;
        }
    }
    for index in 0..usize::from(num_sections) {
        let at = sections as usize + index * usize::from(section_size);
        if !matches!(u32_at(bytes, at + 4), 0 | SECTION_NO_BITS) {
            fits_at(bytes, u64_at(bytes, at + 24), u64_at(bytes, at + 32))?;
        }
    }
    Ok(())
}

fn fits_at(bytes: &[u8], offset: u64, size: u64) -> Result<(), ElfError> {
    fits(bytes, offset.saturating_add(size))
}

fn fits(bytes: &[u8], expected: u64) -> Result<(), ElfError> {
    if expected > bytes.len() as u64 {
        Err(ElfError::Truncated { expected })
    } else {
        Ok(())
    }
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from(u16_at(bytes, at)) | u32::from(u16_at(bytes, at + 2)) << 16
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file header, one program header that loads `load_size` bytes from the start, and `len` bytes in all.
    fn library(len: usize, load_size: u64) -> Vec<u8> {
        let mut bytes = vec![0; len];
        bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
        bytes[16..18].copy_from_slice(&TYPE_SHARED.to_le_bytes());
        bytes[18..20].copy_from_slice(&MACHINE.to_le_bytes());
        bytes[32..40].copy_from_slice(&64_u64.to_le_bytes());
        bytes[54..56].copy_from_slice(&56_u16.to_le_bytes());
        bytes[56..58].copy_from_slice(&1_u16.to_le_bytes());
        bytes[64..68].copy_from_slice(&SEGMENT_LOAD.to_le_bytes());
        bytes[96..104].copy_from_slice(&load_size.to_le_bytes());
        bytes
    }

    #[test]
    fn headers_decide() {
        let reason = |bytes: &[u8]| match check(bytes) {
            Err(ElfError::NotALibrary(reason)) => reason,
            other => panic!("{other:?}"),
        };
        assert_eq!(check(&library(200, 200)), Ok(()));
        assert_eq!(
            check(&library(200, 201)),
            Err(ElfError::Truncated { expected: 201 })
        );
        assert_eq!(
            check(&library(200, u64::MAX)),
            Err(ElfError::Truncated { expected: u64::MAX })
        );
        assert_eq!(
            check(&library(200, 200)[..100]),
            Err(ElfError::Truncated { expected: 120 })
        );
        assert_eq!(
            check(&library(200, 200)[..20]),
            Err(ElfError::Truncated { expected: 64 })
        );
        assert_eq!(reason(b""), "the file is empty");
        assert_eq!(
            reason(b"\x7fEL"),
            "it does not start with the ELF magic number"
        );
        let mut other = library(200, 200);
        other[18] = 8;
        assert_eq!(reason(&other), "it was built for another processor");
        other[16] = 2;
        assert_eq!(
            reason(&other),
            "it is an ELF file, but not a shared library"
        );
    }

    #[test]
    fn every_prefix_of_this_test_is_refused_without_a_panic() {
        let whole = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert_eq!(check(&whole), Ok(()));
        for len in (0..whole.len()).step_by(whole.len() / 997) {
            assert!(
                check(&whole[..len]).is_err(),
                "{len} of {} bytes",
                whole.len()
            );
        }
    }
}
